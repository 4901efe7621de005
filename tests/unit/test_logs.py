"""What is logged is data: it commands no terminal, and stays on its line."""

import json
import logging

from bbhost.daemon.logs import JsonFormatter, TextFormatter

EVIL = "a\x1b]52;c;eA==\x07\x9b6n\x7f\r\x00b"


def record(**extras: str) -> logging.LogRecord:
    made = logging.makeLogRecord({"msg": f"said {EVIL}", "levelname": "INFO", "name": "x"})
    vars(made).update(extras)
    return made


def test_control_characters_of_logs_are_escaped() -> None:
    """Both of C0 and of C1, in the message and in the values beside it."""
    line = TextFormatter().format(record(path=EVIL))
    assert all(char.isprintable() for char in line)
    assert line.count("\\x1b]52") == 2
    assert line.count("\\x9b6n") == 2


def test_a_json_line_is_one_line() -> None:
    """Whatever is in it, and what it says comes back."""
    line = JsonFormatter().format(record(path=f"{EVIL}\n"))
    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line)["path"] == f"{EVIL}\n"
