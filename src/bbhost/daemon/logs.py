"""Structured logs: one JSON object per line for machines, one readable line for people."""

import json
import logging
import sys
import time
from pathlib import Path

ROTATE_BYTES = 10 * 1024 * 1024
ROTATE_FILES = 5

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {
        key: value
        for key, value in vars(record).items()
        if key not in _STANDARD and value is not None
    }


class JsonFormatter(logging.Formatter):
    """``{"time", "level", "logger", "message", ...extras}`` with the time in milliseconds."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record on one line."""
        entry: dict[str, object] = {
            "time": int(record.created * 1000),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


_ESCAPES = {
    code: f"\\x{code:02x}"
    for code in [*range(0x20), 0x7F, *range(0x80, 0xA0)]
    if code not in (0x09, 0x0A)
}


class TextFormatter(logging.Formatter):
    """``12:34:56 info  message key=value``. Control characters are shown, never sent to a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record, with its traceback on the following lines."""
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        extras = "".join(f" {key}={value}" for key, value in _extras(record).items())
        line = f"{at} {record.levelname.lower():<7} {record.getMessage()}{extras}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line.translate(_ESCAPES)


def set_up_logs(level: str, style: str, file: Path | None) -> None:
    """Send all logs to standard error, or to a rotating file of bounded size.

    Args:
        level: debug, info, warning or error.
        style: text, json, or auto: text on a terminal, JSON otherwise.
        file: where to write; ``ROTATE_FILES`` old files of ``ROTATE_BYTES`` are kept.
    """
    handler: logging.Handler
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Loaded for those who ask for a file: it brings sockets and pickling with it.
        from logging.handlers import RotatingFileHandler

        handler = RotatingFileHandler(
            file, maxBytes=ROTATE_BYTES, backupCount=ROTATE_FILES, encoding="utf-8"
        )
    else:
        handler = logging.StreamHandler(sys.stderr)
    readable = style == "text" or (style == "auto" and file is None and sys.stderr.isatty())
    handler.setFormatter(TextFormatter() if readable else JsonFormatter())
    logging.getLogger().handlers[:] = [handler]
    set_log_level(level)


def set_log_level(level: str) -> None:
    """Change how much is logged; libraries never log below warning."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    for noisy in ("httpx", "httpcore", "trio-websocket", "hypercorn"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
