"""Talking to the service manager: systemd's notification protocol, in datagrams of lines.

Nothing here fails, and only the barrier waits: a message that cannot be sent is dropped, because a
daemon must not stop working for want of somebody to tell. Without NOTIFY_SOCKET nothing is sent.
"""

import logging
import os
import socket
import time
from array import array
from collections.abc import MutableMapping, Sequence

import trio
from attrs import define

log = logging.getLogger(__name__)

STATUS_LIMIT = 200
"""Characters of a status line."""


@define(eq=False)
class Notifier:
    """The socket of the service manager, or nothing."""

    _address: str | bytes | None = None
    watchdog_seconds: float | None = None
    """How often the service manager wants to hear from us at least; None: it does not watch."""

    @property
    def is_wanted(self) -> bool:
        """Whether anybody listens."""
        return self._address is not None

    def ready(self, status: str = "") -> None:
        """The service has started, or has finished reloading."""
        self._send("READY=1", _status(status))

    def status(self, text: str) -> None:
        """Tell in one line what the daemon is doing."""
        self._send(_status(text))

    def watchdog(self) -> None:
        """The daemon is alive."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Configuration is being read again; ``ready`` ends it."""
        # The same clock as systemd's: without this line a notify-reload unit ignores the message.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str = "") -> None:
        """The service is going away."""
        self._send("STOPPING=1", _status(status))

    def extend_timeout(self, seconds: float) -> None:
        """Starting or stopping goes on: do not give up on us for so long."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def store(self, name: str, descriptor: int) -> bool:
        """Have a descriptor kept for the next start; False where it was not sent.

        Whether it was taken, nobody says; :meth:`barrier` tells that the message has been read.
        """
        return self._send("FDSTORE=1", f"FDNAME={name}", descriptors=(descriptor,))

    def unstore(self, name: str) -> None:
        """What is kept under this name is no longer wanted."""
        self._send("FDSTOREREMOVE=1", f"FDNAME={name}")

    async def barrier(self) -> bool:
        """Wait until the service manager has read what was sent before. False where it cannot be asked.

        Cancellation: safe.
        """
        ours, theirs = os.pipe()
        try:
            try:
                sent = self._send("BARRIER=1", descriptors=(theirs,))
            finally:
                os.close(theirs)
            if sent:
                await trio.lowlevel.wait_readable(ours)  # the end: its copy has been closed
            else:
                await trio.lowlevel.checkpoint()
            return sent
        finally:
            os.close(ours)

    def _send(self, *lines: str, descriptors: Sequence[int] = ()) -> bool:
        if self._address is None:
            return False
        message = "\n".join(line for line in lines if line).encode("utf-8", "replace")
        try:
            with socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)
            ) as sender:
                sender.setblocking(False)
                # Not socket.send_fds: it drops the address that it is given.
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))
                ancillary = [rights] if descriptors else []
                sender.sendmsg([message], ancillary, 0, self._address)
        except OSError as error:
            log.debug("the service manager cannot be told: %s", error)
            return False
        return True


def take_notifier(environ: MutableMapping[str, str] | None = None) -> Notifier:
    """Read, and remove, what the service manager has put into the environment.

    Removed, so that nothing that the daemon starts can speak in its name.
    """
    environ = os.environ if environ is None else environ
    place = environ.pop("NOTIFY_SOCKET", "")
    every = environ.pop("WATCHDOG_USEC", "")
    for_pid = environ.pop("WATCHDOG_PID", "")
    address: str | bytes | None = None
    if place.startswith("/"):
        address = place
    elif place.startswith("@"):
        address = b"\0" + os.fsencode(place[1:])  # the abstract namespace of Linux
    elif place:
        log.warning("NOTIFY_SOCKET=%r is of no kind that bbhost knows", place)
    watched = address is not None and every.isdigit() and for_pid in {"", str(os.getpid())}
    return Notifier(address, int(every) / 1_000_000 if watched and int(every) else None)


def _status(text: str) -> str:
    """One line: a line break would begin another assignment."""
    shown = "".join(char if char.isprintable() else " " for char in text)[:STATUS_LIMIT]
    return f"STATUS={shown}" if shown else ""
