"""Starting one child process, and the handle of a running one.

``subprocess.Popen`` is called directly in the event loop's thread. It uses ``vfork`` (there is no
``preexec_fn``) and returns when the child has executed its program, about 0.7 ms whatever the size
of the daemon; a thread as in ``trio.lowlevel.open_process`` costs 0.2 ms more processor time and
frees nothing, for the interpreter lock is held throughout. Being synchronous it also lets a
boundary set inherited attributes around the call.

Every child is the leader of its own session and process group: a signal to its group reaches what
it started, and no signal from the daemon's terminal reaches it.

What the daemon itself writes is its user's alone (``toolkit/umask.py``); what git, a terminal
or an agent writes has the permissions it would have without the daemon.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Protocol, TypeAlias

import trio
from attrs import define, field

from bbhost.processes.exit_wait import open_pidfd, wait_exited
from bbhost.processes.launcher import through_launcher
from bbhost.processes.lineage_tag import UNBOUNDED, tagging
from bbhost.toolkit.umask import childrens_umask

Stdio: TypeAlias = int | IO[bytes] | None
"""``subprocess.PIPE``, ``subprocess.DEVNULL``, ``subprocess.STDOUT`` (stderr only) or a descriptor."""

PIPE = subprocess.PIPE
"""A pipe to the daemon, for callers outside of this package."""

started_children: "dict[int, Child]" = {}
"""Unreaped children by pid; every one was started here.

A child of the daemon that is not among them is an adopted orphan. Process ids are one namespace
for the whole program, hence one table.
"""


def let_children_be_interrupted() -> None:
    """Keep from children what this process was told to ignore; once, in the main thread, at start.

    ``nohup`` and the ``&`` of a script make a program ignore SIGINT and SIGQUIT, and all that it
    starts: Ctrl-C would do nothing in a terminal. A handler that does nothing is as good as ignoring
    here, and is no more in the program that a child turns into.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _ignore)


def _ignore(_number: int, _frame: object) -> None:
    return


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
        pty: int | None = None,
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
    tag: int = UNBOUNDED
    """Lineage tag of the boundary it was started in."""
    _wait_lock: trio.Lock = field(factory=trio.Lock, init=False)
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
        # One at a time: a descriptor has one waiter.
        async with self._wait_lock:
            if self._popen.returncode is not None:
                return
            try:
                await wait_exited(self.pid, self._pidfd)
            except (trio.ClosedResourceError, ChildProcessError):
                # Somebody else reaped it meanwhile: the end of its boundary, for one.
                if self._popen.returncode is None:
                    raise

    async def wait(self) -> int:
        """Wait until it has exited, reap it and return its exit status. May be called again.

        Cancellation: safe at any point.
        """
        await self.wait_exited()
        return self.reap()

    def reap(self) -> int:
        """Collect the exit status of a child that has exited (blocks if it has not)."""
        returncode = self._popen.wait()
        self._forget()
        return returncode

    def poll(self) -> int | None:
        """Return the exit status if it has exited, without waiting."""
        if self._popen.poll() is not None:
            self._forget()
        return self._popen.returncode

    def send_signal(self, signum: signal.Signals) -> None:
        """Signal the child alone. Nothing happens if it was reaped."""
        self._popen.send_signal(signum)

    def signal_group(self, signum: signal.Signals) -> None:
        """Signal every process of its group. Nothing happens if the child was reaped.

        An unreaped child, even a zombie, keeps the group id from being reused, so this cannot
        reach another's processes.
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

    def _forget(self) -> None:
        if started_children.get(self.pid) is self:
            del started_children[self.pid]
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
    pty: int | None = None,
    leaf_procs: Path | None = None,
    tag: int = UNBOUNDED,
) -> Child:
    """Start ``argv`` as the leader of a new session.

    Args:
        argv: program and arguments; never given to a shell. The program is looked for in the PATH
            of ``env``.
        cwd: absolute path of an existing directory.
        pty: the slave side of a pseudo-terminal: stdin, stdout and stderr of the child (the other
            arguments are ignored) and the controlling terminal of its session. Stays the caller's
            to close.
        leaf_procs: ``cgroup.procs`` of the leaf the child is in before its program begins.
        tag: see ``lineage_tag.py``.

    Raises:
        OSError: as ``execve`` or ``chdir`` has it: FileNotFoundError, PermissionError, ...
        ValueError: an argument or variable holds a NUL character.
    """
    command = list(argv)
    if pty is not None:
        stdin = stdout = stderr = pty
    if pty is not None or leaf_procs is not None:
        command = through_launcher(
            command, cwd=cwd, env=env, leaf_procs=leaf_procs, terminal=_terminal_path(pty)
        )
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
        with tagging(tag):
            popen = subprocess.Popen(
                command,
                cwd=cwd,
                env=env,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                umask=childrens_umask(),
            )
        on_failure.pop_all()
    pidfd = open_pidfd(popen.pid)
    child = Child(tuple(argv), popen.pid, popen, pidfd, tag, to_stdin, from_stdout, from_stderr)
    started_children[child.pid] = child
    return child


def _terminal_path(pty: int | None) -> str | None:
    if pty is None:
        return None
    # In a container the terminal's own name may belong to another mount; stdin is it in any case.
    return "/proc/self/fd/0" if sys.platform == "linux" else os.ttyname(pty)
