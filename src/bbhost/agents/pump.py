"""The process of an agent and its pipes.

Rule 1: nothing is read ahead. A line is read when the one before has been dealt with, so an agent
that says more than the daemon can pass on waits in its own ``write``.
Rule 2: stderr is always read, and only its end is kept.
Rule 3: the output ends with the agent, even where something that it left running keeps the pipe open.
"""

import fcntl
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from logging import getLogger

import trio

from bbhost.agents.lines import LINE_BYTES, LineSplitter, OversizedLine
from bbhost.agents.provider import STDERR_CHARACTERS, AgentExit, AgentPlace
from bbhost.agents.redaction import Redactor
from bbhost.errors import AgentError, MissingExecutableError
from bbhost.processes.child import end_group
from bbhost.processes.spawn import PIPE, Child

log = getLogger(__name__)

READ_BYTES = 65_536
CLOSE_SECONDS = 0.5
"""For an agent to end by itself when its stdin is closed."""
GRACE_SECONDS = 0.5
"""Between TERM and KILL."""
EOF_SECONDS = 0.5
"""For the rest of stderr after the exit, in case another process holds the pipe open."""
PIPE_BYTES = 65_536
"""What a pipe holds where the system does not tell; more cannot wait in it when the agent exits."""
_STDERR_BYTES = STDERR_CHARACTERS * 4


class AgentProcess:
    """A running agent, as lines. Made by :func:`open_agent_process`."""

    def __init__(self, child: Child, redactor: Redactor) -> None:
        assert child.stdout is not None
        assert child.stderr is not None
        self._child = child
        self._stdout, self._stderr = child.stdout, child.stderr
        self._redactor = redactor
        self._splitter = LineSplitter(LINE_BYTES)
        self._waiting: list[bytes | OversizedLine] = []
        self._tail = bytearray()
        self._stderr_read = trio.Event()
        self._reading = trio.CancelScope()
        self._rest: int | None = None
        """Bytes that may still be the agent's after its exit; None while it lives."""
        self._writing = trio.Lock()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    # --- output -------------------------------------------------------------------------------

    async def next_line(self) -> bytes | OversizedLine | None:
        """The next line of stdout, without its newline; None at the end. One reader only."""
        while not self._waiting:
            chunk = await self._receive()
            if not chunk:
                self._waiting = self._splitter.finish()
                self._waiting.reverse()
                return self._waiting.pop() if self._waiting else None
            self._waiting = self._splitter.feed(chunk)
            self._waiting.reverse()
        await trio.lowlevel.checkpoint()
        return self._waiting.pop()

    async def next_chunk(self) -> bytes:
        """The next piece of stdout as it comes, empty at the end. Not to be mixed with lines."""
        return await self._receive()

    async def _receive(self) -> bytes:
        if self._rest is None:
            with trio.CancelScope() as self._reading:
                try:
                    return bytes(await self._stdout.receive_some(READ_BYTES))
                except (trio.BrokenResourceError, OSError):
                    return b""
        await trio.lowlevel.checkpoint()
        return self._read_rest()

    def _read_rest(self) -> bytes:
        """The next piece of what was in the pipe when the agent exited."""
        assert self._rest is not None
        try:
            chunk = os.read(self._stdout.fileno(), min(self._rest, READ_BYTES))
        except OSError:  # would block: that was all
            chunk = b""
        self._rest = self._rest - len(chunk) if chunk else 0
        return chunk

    async def watch_exit(self) -> None:
        """Let the output end with the agent. Run it beside whoever reads; ends with the agent."""
        await self._child.wait_exited()
        self._rest = _pipe_bytes(self._stdout.fileno())
        self._reading.cancel(reason="the agent has exited")

    async def drain_stderr(self) -> None:
        """Read stderr to its end, keeping the last part."""
        try:
            while chunk := await self._stderr.receive_some(READ_BYTES):
                self._tail += chunk
                if len(self._tail) > 2 * _STDERR_BYTES:
                    del self._tail[:-_STDERR_BYTES]
        except (trio.BrokenResourceError, OSError):
            return
        finally:
            self._stderr_read.set()

    @property
    def stderr_tail(self) -> str:
        """The last characters of stderr, without credentials."""
        text = self._tail[-_STDERR_BYTES:].decode(errors="replace")
        return self._redactor.redact(text)[-STDERR_CHARACTERS:]

    def redact(self, text: str) -> str:
        """``text`` without the credentials of the agent's environment."""
        return self._redactor.redact(text)

    # --- input --------------------------------------------------------------------------------

    async def write(self, data: bytes) -> None:
        """Write to stdin; waits while the agent does not read.

        Raises:
            AgentError: it does not take input any more.
        Cancellation: part of ``data`` may have been written; the conversation is broken then.
        """
        if self._child.stdin is None:
            raise AgentError("the agent takes no input")
        try:
            async with self._writing:
                await self._child.stdin.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise AgentError("the agent does not take input any more") from error

    def close_stdin(self) -> None:
        """There is no more input."""
        if self._child.stdin is not None:
            self._child.stdin.close()

    # --- the end ------------------------------------------------------------------------------

    def terminate(self) -> None:
        """Ask it and its group to end."""
        self._child.signal_group(signal.SIGTERM)
        self._child.signal_group(signal.SIGCONT)

    async def wait_exit(self) -> AgentExit:
        """Wait for its exit, briefly for the rest of stderr, and say how it went."""
        returncode = await self._child.wait()
        with trio.move_on_after(EOF_SECONDS):
            await self._stderr_read.wait()
        return AgentExit(returncode, self.stderr_tail)

    async def describe_end(self, seconds: float) -> AgentExit:
        """Say how it went after its output has ended; it may live on."""
        with trio.move_on_after(seconds):
            return await self.wait_exit()
        return AgentExit(None, self.stderr_tail)

    async def close(self) -> None:
        """End it and its process group. Cancellation: not delivered; takes at most 2 s."""
        self.close_stdin()
        # Shield budget: CLOSE_SECONDS, then what end_group takes at most (GRACE_SECONDS + 1 s).
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            await self._child.wait_exited()
        await end_group(self._child, GRACE_SECONDS)
        self._child.poll()
        self._child.close_streams()

    async def kill(self) -> None:
        """End it without waiting for it to end by itself. Cancellation: as :meth:`close`."""
        self.close_stdin()
        await end_group(self._child, GRACE_SECONDS)
        self._child.poll()
        self._child.close_streams()


@asynccontextmanager
async def open_agent_process(
    place: AgentPlace, argv: Sequence[str], *, with_stdin: bool = True
) -> AsyncIterator[AgentProcess]:
    """Start an agent; leaving the block ends it and its process group.

    Raises:
        MissingExecutableError: there is no such program, or it cannot be executed.
        EnvironmentDestroyedError: the place takes no more processes.

    Cancellation: TERM at once, KILL after ``GRACE_SECONDS``; shielded for as long.
    """
    child = await _spawn(place, argv, with_stdin=with_stdin)
    process = AgentProcess(child, Redactor(place.environ))
    orderly = False
    try:
        yield process
        orderly = True
    finally:
        # Shield budget: CLOSE_SECONDS and what end_group takes at most.
        with trio.move_on_after(CLOSE_SECONDS + GRACE_SECONDS + 1.5, shield=True):
            if orderly:
                await process.close()
            else:
                await process.kill()


def _pipe_bytes(descriptor: int) -> int:
    size = getattr(fcntl, "F_GETPIPE_SZ", None)
    return PIPE_BYTES if size is None else fcntl.fcntl(descriptor, size)


async def _spawn(place: AgentPlace, argv: Sequence[str], *, with_stdin: bool) -> Child:
    options = {"stdin": PIPE} if with_stdin else {}
    try:
        return await place.opener.open_process(
            argv, cwd=place.workspace, env=place.environ, stdout=PIPE, stderr=PIPE, **options
        )
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        if not place.workspace.is_dir():
            raise AgentError(
                f"The workspace {place.workspace} does not exist", code="path_not_found"
            ) from error
        raise MissingExecutableError(f"{argv[0]} cannot be started: {error.strerror}") from error
    except (ValueError, OSError) as error:
        raise AgentError(f"{argv[0]} could not be started: {error}") from error
