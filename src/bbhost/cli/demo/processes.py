"""Hub and daemon as real processes of their own."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import frozen

from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.cli.running.daemon_child import last_error, stop_process
from bbhost.contract.codec import parse_json

END_SECONDS = 10.0


def bare_environ(place: Path, **more: str) -> dict[str, str]:
    """Return an environment in which no setting of the user's reaches the demonstration."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BB_", "BBHOST_", "GIT_"))
    }
    return {**kept, "BBHOST_CONFIG": str(place / "config.toml"), "PYTHONUNBUFFERED": "1", **more}


@frozen
class Running:
    """A process of the demonstration."""

    process: trio.Process
    log: Path

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid

    async def stop(self) -> int:
        """End it in good order; return its exit code."""
        await stop_process(self.process)
        return self.process.returncode or 0


@asynccontextmanager
async def run_program(
    log: Path, arguments: list[str], environ: dict[str, str], *, stdout: int | None = None
) -> AsyncIterator[Running]:
    """Hold a process of this Python; what still runs at the end is killed, with what it started."""
    with log.open("ab") as sink:
        process = await trio.lowlevel.open_process(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=sink if stdout is None else stdout,
            stderr=sink,
            env=environ,
            start_new_session=True,
        )
    try:
        yield Running(process, log)
    finally:
        with trio.move_on_after(END_SECONDS, shield=True):
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                with trio.move_on_after(END_SECONDS / 2):
                    await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()
            if process.stdout is not None:
                await process.stdout.aclose()


@asynccontextmanager
async def run_hub_program(
    place: Path, allowed_host: str
) -> AsyncIterator[tuple[Running, str, str]]:
    """Hold a hub; gives its process, its URL and the path of its token."""
    arguments = [
        *("-m", "bbhost", "hub", "--json", "--port", "0"),
        *("--data-dir", str(place / "server"), "--allow-host", allowed_host),
    ]
    log = place / "hub.log"
    async with run_program(log, arguments, bare_environ(place), stdout=subprocess.PIPE) as hub:
        assert hub.process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            data = await hub.process.stdout.receive_some()
            if not data:
                raise CommandError(
                    Outcome.FAILED,
                    f"The hub did not start: {last_error(log) or 'it said nothing'}",
                )
            line += data
        told = parse_json(line)
        yield hub, told["url"], told["tokenFile"]
