"""The name under which this host appears to people."""

import socket
import sys
from pathlib import Path

import trio

from bbhost.processes.child import run_child

_ASK_SECONDS = 5.0
"""Wait for the system's answer; beyond it the plain host name is used."""


async def detect_host_name(given: str | None) -> str:
    """The given name, else what this machine calls itself, else ``unknown-host``."""
    if given and given.strip():
        return given.strip()
    if sys.platform == "darwin":  # the plain host name there changes with the network
        name = await _computer_name()
        if name:
            return name
    return socket.gethostname().strip() or "unknown-host"


async def _computer_name() -> str:
    with trio.move_on_after(_ASK_SECONDS):
        try:
            asked = await run_child(["scutil", "--get", "ComputerName"], cwd=Path("/"))
        except OSError:
            return ""
        if asked.returncode == 0:
            return asked.stdout.decode(errors="replace").strip()
    return ""
