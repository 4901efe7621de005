"""Which shell a terminal runs, and the environment it gets. Blocking only as far as ``stat`` is."""

import os
from collections.abc import Mapping
from pathlib import PurePath

from attrs import frozen

from bbhost.domain.ids import TerminalId

FALLBACK_SHELLS = ("/bin/zsh", "/bin/bash", "/bin/sh")


@frozen
class ShellSettings:
    """What the daemon tells every shell."""

    server_url: str | None = None
    """Normalised address of the server."""
    local_port: int | None = None
    """Port of the daemon's HTTP API on this machine; None where it is off."""
    cli_dir: str | None = None
    """Directory with the server's command line tool, put before the inherited PATH."""


def choose_shell(environ: Mapping[str, str]) -> str | None:
    """The user's shell, else the first that is there; None where there is none at all."""
    for shell in (environ.get("SHELL", ""), *FALLBACK_SHELLS):
        if shell.startswith("/") and os.path.isfile(shell) and os.access(shell, os.X_OK):  # noqa: PTH113 - text throughout
            return shell
    return None


def shell_mark(terminal_id: TerminalId) -> tuple[str, str]:
    """Name and value of the variable by which what was started in a terminal is known."""
    return "BB_TERMINAL_SESSION_ID", terminal_id


def shell_title(shell: str) -> str:
    """Title of a terminal that runs ``shell``."""
    return PurePath(shell).name


def shell_environ(
    inherited: Mapping[str, str], settings: ShellSettings, terminal_id: TerminalId
) -> dict[str, str]:
    """Environment of a shell.

    Args:
        inherited: what every child gets (``processes/environ.py``).
    """
    environ = dict(inherited)
    if settings.cli_dir:
        path = environ.get("PATH", os.defpath)
        environ["PATH"] = f"{settings.cli_dir}:{path}"
    if settings.server_url:
        environ["BB_SERVER_URL"] = settings.server_url
    if settings.local_port is not None:
        environ["BB_HOST_DAEMON_PORT"] = str(settings.local_port)
    environ |= {
        **dict([shell_mark(terminal_id)]),
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "DISABLE_AUTO_TITLE": "true",
        "PROMPT_EOL_MARK": "",
    }
    return environ
