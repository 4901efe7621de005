"""Which shell runs, and what it is told."""

from pathlib import Path

import pytest

from bbhost.domain.ids import TerminalId
from bbhost.terminals import shell
from bbhost.terminals.shell import ShellSettings, choose_shell, shell_environ, shell_title


def test_the_first_executable_shell_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setattr(shell, "FALLBACK_SHELLS", (str(first), str(second)))
    assert choose_shell({"SHELL": str(tmp_path)}) is None
    second.write_text("")
    assert choose_shell({}) is None
    second.chmod(0o755)
    assert choose_shell({}) == str(second)
    assert choose_shell({"SHELL": "relative"}) == str(second)
    first.touch(0o755)
    assert choose_shell({"SHELL": str(second)}) == str(second)
    assert choose_shell({"SHELL": "/no/such"}) == str(first)


def test_the_title_is_the_name() -> None:
    assert shell_title("/usr/bin/fish") == "fish"


def test_the_environment_is_added_to() -> None:
    environ = shell_environ(
        {"PATH": "/bin", "HOME": "/root", "TERM": "dumb"},
        ShellSettings("http://127.0.0.1:1", 2, "/cli"),
        TerminalId("term_1"),
    )
    assert environ == {
        "PATH": "/cli:/bin",
        "HOME": "/root",
        "BB_SERVER_URL": "http://127.0.0.1:1",
        "BB_HOST_DAEMON_PORT": "2",
        "BB_TERMINAL_SESSION_ID": "term_1",
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "DISABLE_AUTO_TITLE": "true",
        "PROMPT_EOL_MARK": "",
    }


def test_what_is_not_configured_is_left_out() -> None:
    environ = shell_environ({"PATH": "/bin"}, ShellSettings(), TerminalId("t"))
    assert environ["PATH"] == "/bin"
    assert not {"BB_SERVER_URL", "BB_HOST_DAEMON_PORT"} & set(environ)
