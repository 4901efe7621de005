"""Running one child to its end: how git and hooks run.

The child leads its own session. When the run is over, for whatever reason, nothing of its process
group is left, unless it ran inside a boundary: then what it deliberately left running belongs to
the boundary, which ends it later.
"""

import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import trio
from attrs import define, field, frozen

from bbhost.processes.environ import child_environ
from bbhost.processes.spawn import Child, ProcessOpener, spawn

GRACE_SECONDS = 2.0
"""Between TERM and KILL when a run is cancelled."""
REAP_SECONDS = 1.0
"""Wait for the exit of a killed child. Only a process stuck in the kernel takes longer; it is left."""
EOF_SECONDS = 0.5
"""Wait for the end of the output after the exit, in case another process holds the pipe open."""
READ_BYTES = 65536
"""One read; the capacity of a pipe on Linux."""
DEFAULT_OUTPUT_LIMIT = 16 * 1024 * 1024
"""Bytes kept of stdout unless the caller says otherwise."""
STDERR_LIMIT = 256 * 1024
"""Bytes kept of stderr: enough for any message a person reads."""


@frozen
class Completed:
    """A child that has ended."""

    argv: tuple[str, ...]
    returncode: int
    """Exit status; negative: the signal that ended it."""
    stdout: bytes
    stderr: bytes
    truncated: bool = False
    """stdout or stderr was longer than its limit; the first bytes up to the limit were kept."""
    held_open: bool = False
    """Another process kept the output open after the exit; what it wrote later was not read."""


@define(eq=False)
class _Sink:
    """Keeps the first ``limit`` bytes and goes on swallowing, so that the writer never blocks."""

    limit: int
    on_output: Callable[[bytes], None] | None = None
    kept: bytearray = field(factory=bytearray)
    truncated: bool = False

    async def drain(self, stream: trio.lowlevel.FdStream) -> None:
        while chunk := await stream.receive_some(READ_BYTES):
            if self.on_output is not None:
                self.on_output(bytes(chunk))
            room = self.limit - len(self.kept)
            if room < len(chunk):
                self.truncated = True
            if room > 0:
                self.kept += chunk[:room]


async def run_child(
    argv: Sequence[str],
    *,
    cwd: Path | str,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    stdout_limit: int = DEFAULT_OUTPUT_LIMIT,
    stderr_limit: int = STDERR_LIMIT,
    on_output: Callable[[bytes], None] | None = None,
    merge_stderr: bool = False,
    boundary: ProcessOpener | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> Completed:
    """Run ``argv`` and return what it wrote and how it ended.

    Args:
        argv: program and arguments, never given to a shell.
        env: complete environment; :func:`child_environ` where omitted.
        stdin: bytes to feed; the null device where omitted.
        stdout_limit: bytes kept of stdout. Beyond it output is read, passed to ``on_output`` and
            dropped, and the result is flagged ``truncated``.
        on_output: called with each piece of stdout as it arrives, in the event loop: be brief.
        merge_stderr: stderr goes where stdout goes, in order.
        boundary: where it runs. Without one, whatever its group still holds after its exit is
            killed.
        grace_seconds: between TERM and KILL when cancelled.

    Raises:
        OSError: it could not be started; FileNotFoundError for a missing program or ``cwd``.
        ExceptionGroup: ``on_output`` failed; the child was ended.

    Cancellation: TERM to its process group, KILL after ``grace_seconds``, and a KILL of the group
    after the leader's exit; shielded for ``grace_seconds`` + ``REAP_SECONDS``.
    """
    open_process = _open_unbounded if boundary is None else boundary.open_process
    child = await open_process(
        argv,
        cwd=cwd,
        env=child_environ() if env is None else env,
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merge_stderr else subprocess.PIPE,
    )
    out, err = _Sink(stdout_limit, on_output), _Sink(stderr_limit)
    finished = False
    try:
        async with trio.open_nursery() as pumps:
            if child.stdin is not None and stdin is not None:
                pumps.start_soon(_feed, child.stdin, stdin)
            if child.stdout is not None:
                pumps.start_soon(out.drain, child.stdout)
            if child.stderr is not None:
                pumps.start_soon(err.drain, child.stderr)
            await child.wait_exited()
            finished = True
            if boundary is None:
                child.signal_group(signal.SIGKILL)
            pumps.cancel_scope.deadline = trio.current_time() + EOF_SECONDS
    finally:
        if not finished:
            # Shield budget: what end_group takes at most.
            with trio.move_on_after(grace_seconds + REAP_SECONDS, shield=True):
                await end_group(child, grace_seconds)
        child.poll()
        child.close_streams()
    return Completed(
        argv=child.argv,
        returncode=child.reap(),
        stdout=bytes(out.kept),
        stderr=bytes(err.kept),
        truncated=out.truncated or err.truncated,
        held_open=pumps.cancel_scope.cancelled_caught,
    )


async def end_group(child: Child, grace_seconds: float = GRACE_SECONDS) -> None:
    """End a child and its process group, and reap the child.

    TERM (and CONT, for a stopped process cannot act on TERM), KILL after ``grace_seconds``, and a
    KILL of the group once the leader has gone, while its zombie still holds the group id.

    Cancellation: not delivered; takes at most ``grace_seconds`` + ``REAP_SECONDS``.
    """
    # Shield budget: grace_seconds, then REAP_SECONDS for the kernel to end what was killed.
    with trio.move_on_after(grace_seconds, shield=True):
        child.signal_group(signal.SIGTERM)
        child.signal_group(signal.SIGCONT)
        await child.wait_exited()
    child.signal_group(signal.SIGKILL)
    with trio.move_on_after(REAP_SECONDS, shield=True):
        await child.wait()


async def _open_unbounded(
    argv: Sequence[str],
    *,
    cwd: Path | str,
    env: Mapping[str, str] | None = None,
    stdin: int,
    stdout: int,
    stderr: int,
) -> Child:
    await trio.lowlevel.checkpoint()
    return spawn(
        argv,
        cwd=cwd,
        env=child_environ() if env is None else env,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
    )


async def _feed(stream: trio.lowlevel.FdStream, data: bytes) -> None:
    # A child that does not read all of its input is not a failure; its exit status tells.
    try:
        await stream.send_all(data)
    except trio.BrokenResourceError:
        pass
    finally:
        stream.close()
