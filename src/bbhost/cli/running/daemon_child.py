"""The daemon as a child: started, watched, started again where that may help."""

import json
import os
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path

import trio
from attrs import define, field

from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.cli.printing import clean, note
from bbhost.toolkit.private_directory import make_private_directory

RESTARTS = 5
"""Crashes within ``RESTART_WINDOW_SECONDS``; at one more, we give up and say so."""
RESTART_WINDOW_SECONDS = 60.0
RESTART_PAUSE_SECONDS = 0.5
STOP_SECONDS = 8.0
"""The daemon stops within five; then it is killed, and its next start sweeps up after it."""
KILL_SECONDS = 5.0
LOG_TAIL_BYTES = 16_384
EXIT_CONFIGURATION = 78


@define(eq=False)
class DaemonChild:
    """Keeps one daemon process running.

    The daemon is in a session of its own, so that Ctrl-C at the terminal reaches only us, who stop it
    in the right order.
    """

    arguments: list[str]
    log: Path | None
    """Where its output goes; None: to ours."""
    pid: int | None = None
    starts: int = 0
    environ: dict[str, str] = field(factory=dict)
    ended: trio.Event = field(factory=trio.Event)
    """Set once it has ended by itself with success."""

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the daemon until it ends by itself with success.

        Raises:
            CommandError: it cannot start, or crashed too often.

        Cancellation: it is stopped with SIGTERM, after ``STOP_SECONDS`` with SIGKILL.
        """
        crashes: deque[float] = deque(maxlen=RESTARTS)
        while True:
            process = await self._start()
            if self.starts == 1:
                task_status.started()
            code = await self._outlive(process)
            if code == 0:
                self.ended.set()
                return
            if code == EXIT_CONFIGURATION:
                raise CommandError(
                    Outcome.CONFIGURATION, f"The daemon cannot start: {self._last_words()}"
                )
            now = trio.current_time()
            if len(crashes) == RESTARTS and now - crashes[0] < RESTART_WINDOW_SECONDS:
                raise CommandError(
                    Outcome.FAILED,
                    f"The daemon ended {RESTARTS + 1} times within {RESTART_WINDOW_SECONDS:.0f} s "
                    f"(last {describe_exit(code)}): {self._last_words()}",
                )
            crashes.append(now)
            note(f"The daemon {describe_exit(code)} and is started again: {self._last_words()}")
            await trio.sleep(RESTART_PAUSE_SECONDS)

    def _last_words(self) -> str:
        """Return the last error the daemon has logged, or where to look."""
        if self.log is None:
            return "see above"
        return f"{last_error(self.log) or 'it said nothing'} (log: {self.log})"

    async def _outlive(self, process: trio.Process) -> int:
        """Wait for the end of a process; end it when cancelled."""
        try:
            return await process.wait()
        finally:
            # Budget: STOP_SECONDS, then what the kernel needs to end a killed process.
            with trio.move_on_after(STOP_SECONDS + KILL_SECONDS, shield=True):
                await stop_process(process)
            self.pid = None

    async def _start(self) -> trio.Process:
        process = await self._open()
        self.pid = process.pid
        self.starts += 1
        return process

    async def _open(self) -> trio.Process:
        command = [sys.executable, "-m", "bbhost.daemon", *self.arguments]
        if self.log is None:
            return await _open(command, None, self.environ)
        make_private_directory(self.log.parent)
        # What is written before the daemon has set up its own log goes to the same file.
        descriptor = os.open(
            self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        try:
            return await _open(command, descriptor, self.environ)
        finally:
            os.close(descriptor)


async def stop_process(process: trio.Process) -> None:
    """End a process with SIGTERM, after ``STOP_SECONDS`` with SIGKILL."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    with trio.move_on_after(STOP_SECONDS):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()


def last_error(log: Path) -> str | None:
    """Return the last line of a log that is an error, cleaned; None where there is none."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except ValueError:
            return clean(line)
        if isinstance(entry, dict) and entry.get("level") == "error":
            return clean(entry.get("message"))
    return None


def describe_exit(code: int) -> str:
    """Say how a process ended, such as ``was killed by SIGKILL``."""
    if code < 0:
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"
    return f"ended with exit code {code}"


async def _open(command: list[str], output: int | None, environ: dict[str, str]) -> trio.Process:
    return await trio.lowlevel.open_process(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env={**os.environ, **environ},
        start_new_session=True,
    )
