"""The part of systemd that keeps descriptors over a restart, and a systemctl that knows of one job.

It reads the notification socket, keeps what is stored under its name, lets go of it when told to, and
closes barriers after what came before them, as systemd does. It starts nothing: tests do.
"""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import define, field

UNIT = "bbhost-test.service"

WRAPPER = """
import os, sys
kept = [int(number) for number in os.environ.pop("TEST_DESCRIPTORS").split()]
high = [os.dup(number) for number in kept]
high = [number if number > 100 else os.dup2(number, 100 + number) for number in high]
for index, number in enumerate(high):
    os.dup2(number, 3 + index, inheritable=True)
    os.close(number)
if kept:
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(kept))
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Turns into the daemon, with the kept descriptors where the protocol has them."""


@define(eq=False)
class ServiceManager:
    """Made by :func:`run_service_manager`."""

    directory: Path
    stored: dict[str, int] = field(factory=dict)
    messages: list[str] = field(factory=list)
    takes_descriptors: bool = True
    """False: barriers are never answered."""
    _starts: int = 0

    def set_job(self, kind: str | None) -> None:
        """What systemctl says is queued for the unit: ``restart``, ``stop``, or nothing."""
        line = "" if kind is None else f"  17 {UNIT} {kind} running"
        script = self.directory / "bin" / "systemctl"
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"#!/bin/sh\necho '  3 other.service restart waiting'\necho '{line}'\n")
        script.chmod(0o755)

    def environ(self) -> dict[str, str]:
        """For the next start of the daemon: every start is an invocation of its own."""
        self._starts += 1
        return {
            "NOTIFY_SOCKET": str(self.directory / "notify"),
            "BBHOST_UNIT": f"system/{UNIT}",
            "INVOCATION_ID": f"{self._starts:032x}",
            "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}",
            "TEST_DESCRIPTORS": " ".join(map(str, self.stored.values())),
            "LISTEN_FDNAMES": ":".join(self.stored),
        }

    def take(self, message: str, descriptors: list[int]) -> None:
        """Do what a message says."""
        self.messages.append(message)
        lines = dict(line.partition("=")[::2] for line in message.split("\n"))
        name = lines.get("FDNAME", "")
        if "FDSTORE" in lines:
            (self.stored[name],) = descriptors
            return
        if "FDSTOREREMOVE" in lines and name in self.stored:
            os.close(self.stored.pop(name))
        if "BARRIER" not in lines or self.takes_descriptors:
            for descriptor in descriptors:
                os.close(descriptor)


@asynccontextmanager
async def run_service_manager(directory: Path) -> AsyncIterator[ServiceManager]:
    """Listen on a socket in ``directory``; what is stored is closed at the end."""
    manager = ServiceManager(directory)
    manager.set_job(None)
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    receiver.bind(str(directory / "notify"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_receive, receiver, manager)
        try:
            yield manager
        finally:
            nursery.cancel_scope.cancel()
    receiver.close()
    for descriptor in manager.stored.values():
        os.close(descriptor)


async def _receive(receiver: socket.socket, manager: ServiceManager) -> None:
    while True:
        await trio.lowlevel.wait_readable(receiver)
        message, descriptors, _flags, _address = socket.recv_fds(receiver, 4096, 8)
        manager.take(message.decode(), descriptors)
