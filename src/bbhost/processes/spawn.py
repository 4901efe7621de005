"""Starting one child process, and the handle of a running one.

``subprocess.Popen`` is called directly in the event loop's thread. It uses ``vfork`` (there is no
``preexec_fn``) and returns when the child has executed its program, about 0.7 ms whatever the size
of the daemon; a thread as in ``trio.lowlevel.open_process`` costs 0.2 ms more processor time and frees nothing, for the
interpreter lock is held throughout. Being synchronous it also lets a boundary set inherited
attributes around the call.

Every child is the leader of its own session and process group: a signal to its group reaches what
it started, and no signal from the daemon's terminal reaches it.
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Protocol, TypeAlias

import trio
from attrs import define

from bbhost.processes.exit_wait import open_pidfd, wait_exited

Stdio: TypeAlias = int | IO[bytes] | None
"""``subprocess.PIPE``, ``subprocess.DEVNULL``, ``subprocess.STDOUT`` (stderr only) or a descriptor."""


class ProcessOpener(Protocol):
    """What can start a child: a boundary."""

    async def open_process(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | str,
        env: Mapping[str, str] | None = None,
        stdin: Stdio = subprocess.DEVNULL,
        stdout: Stdio = subprocess.DEVNULL,
        stderr: Stdio = subprocess.DEVNULL,
    ) -> "Child":
        """Start ``argv``; raises OSError as ``execve`` would."""
        ...


@define(eq=False)
class Child:
    """A running child. Whoever opened it must see to it that it is waited for.

    ``stdin``, ``stdout`` and ``stderr`` are Trio streams where a pipe was asked for.
    """

    argv: tuple[str, ...]
    pid: int
    _popen: subprocess.Popen[bytes]
    _pidfd: int | None
    stdin: trio.lowlevel.FdStream | None = None
    stdout: trio.lowlevel.FdStream | None = None
    stderr: trio.lowlevel.FdStream | None = None

    @property
    def returncode(self) -> int | None:
        """Exit status once the child was reaped (negative: the signal), None before."""
        return self._popen.returncode

    async def wait_exited(self) -> None:
        """Wait until it has exited, and leave it unreaped so that its group id stays its own.

        Cancellation: safe at any point.
        """
        if self._popen.returncode is None:
            await wait_exited(self.pid, self._pidfd)
        else:
            await trio.lowlevel.checkpoint()

    async def wait(self) -> int:
        """Wait until it has exited, reap it and return its exit status. May be called again.

        Cancellation: safe at any point.
        """
        await self.wait_exited()
        return self.reap()

    def reap(self) -> int:
        """Collect the exit status of a child that has exited (blocks if it has not)."""
        returncode = self._popen.wait()
        self._close_pidfd()
        return returncode

    def poll(self) -> int | None:
        """Return the exit status if it has exited, without waiting."""
        if self._popen.poll() is not None:
            self._close_pidfd()
        return self._popen.returncode

    def send_signal(self, signum: signal.Signals) -> None:
        """Signal the child alone. Nothing happens if it was reaped."""
        self._popen.send_signal(signum)

    def signal_group(self, signum: signal.Signals) -> None:
        """Signal every process of its group. Nothing happens if the child was reaped.

        An unreaped child, even a zombie, keeps the group id from being reused, so this cannot reach
        another's processes.
        """
        if self._popen.returncode is None:
            # EPERM: on macOS the answer for a group that holds only zombies.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signum)

    def close_streams(self) -> None:
        """Close the daemon's ends of the pipes."""
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()

    def _close_pidfd(self) -> None:
        if self._pidfd is not None:
            trio.lowlevel.notify_closing(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None


def spawn(
    argv: Sequence[str],
    *,
    cwd: Path | str,
    env: Mapping[str, str],
    stdin: Stdio = subprocess.DEVNULL,
    stdout: Stdio = subprocess.DEVNULL,
    stderr: Stdio = subprocess.DEVNULL,
) -> Child:
    """Start ``argv`` as the leader of a new session.

    Args:
        argv: program and arguments; never given to a shell. The program is looked for in the PATH
            of ``env``.
        cwd: absolute path of an existing directory.

    Raises:
        OSError: as ``execve`` or ``chdir`` has it: FileNotFoundError, PermissionError, ...
        ValueError: an argument or variable holds a NUL character.
    """
    with ExitStack() as childs_ends, ExitStack() as on_failure:

        def from_pipe() -> tuple[trio.lowlevel.FdStream, int]:
            ours, theirs = os.pipe()
            childs_ends.callback(os.close, theirs)
            stream = trio.lowlevel.FdStream(ours)
            on_failure.callback(stream.close)
            return stream, theirs

        to_stdin = from_stdout = from_stderr = None
        if stdin == subprocess.PIPE:
            stdin, ours = os.pipe()
            childs_ends.callback(os.close, stdin)
            to_stdin = trio.lowlevel.FdStream(ours)
            on_failure.callback(to_stdin.close)
        if stdout == subprocess.PIPE:
            from_stdout, stdout = from_pipe()
        if stderr == subprocess.PIPE:
            from_stderr, stderr = from_pipe()
        popen = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=env,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        on_failure.pop_all()
    return Child(tuple(argv), popen.pid, popen, _pidfd(popen), to_stdin, from_stdout, from_stderr)


def _pidfd(popen: "subprocess.Popen[bytes]") -> int | None:
    # An unreaped child cannot be missing, so ProcessLookupError does not happen here.
    return open_pidfd(popen.pid)
