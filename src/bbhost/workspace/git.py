"""Running git. Every git child of the daemon starts here, disarmed (see ``hardening.py``).

No shell, no prompt, no pager, no editor, no hooks, none of the daemon's ``GIT_*`` variables; output,
duration and the number of children at a time are bounded.
"""

import errno
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import trio
from attrs import frozen

from bbhost.errors import BbhostError, GitCommandError, GitTimeoutError, PathNotFoundError
from bbhost.processes.child import Completed, run_child
from bbhost.processes.environ import child_environ
from bbhost.processes.spawn import ProcessOpener
from bbhost.toolkit.histogram import Histogram
from bbhost.workspace.config_scan import ConfigScan, ConfigScanner
from bbhost.workspace.git_slots import GitSlots
from bbhost.workspace.hardening import (
    ALWAYS,
    DIFF_GUARDS,
    DIFF_VERBS,
    ENVIRONMENT,
    ConfigPair,
    config_environment,
)
from bbhost.workspace.repository import GitDirs, find_git_dirs, git_dirs_of
from bbhost.workspace.submodules import SubmoduleScanner

GIT_PROCESSES_AT_ONCE = 8
"""Children of one :class:`Git` at a time; those who ask for more wait (:mod:`bbhost.workspace.git_slots`)."""
OUTPUT_LIMIT = 16 * 1024 * 1024
"""Bytes of stdout of one child; more is a failure unless the caller takes the output piecewise."""
LOOK_SECONDS = 15.0
"""Deadline of a child that only looks, where nothing else is configured: status, refs, configuration."""
MESSAGE_LIMIT = 4000
"""Characters of stderr, and of the arguments, in an error message."""
SECONDS_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
"""Buckets of the histogram of how long children run."""


class GitOutputError(GitCommandError):
    """A git child wrote more than its caller is prepared to hold."""


_NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


@frozen
class GitResult:
    """What a git child wrote and how it ended."""

    returncode: int
    stdout: bytes
    stderr: bytes


@frozen
class GitStatistics:
    """Counts since the start."""

    processes: Mapping[str, int]
    """Children started, by verb; ``config`` are scans of a repository's configuration."""
    running: int
    waiting: int
    seconds: Mapping[str, Histogram]
    """How long they ran, by verb, waiting for a slot not included."""

    @property
    def total(self) -> int:
        """Children started."""
        return sum(self.processes.values())


class Git:
    """Runs git children. One per daemon."""

    def __init__(
        self,
        *,
        executable: str = "git",
        processes_at_once: int = GIT_PROCESSES_AT_ONCE,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self.look_seconds = look_seconds
        """Deadline of a child that only looks."""
        self._executable = executable
        self._slots = GitSlots(processes_at_once)
        self._processes: Counter[str] = Counter()
        self._seconds: dict[str, Histogram] = {}
        self._scanner = ConfigScanner(self._list_config)
        self._submodules = SubmoduleScanner(
            self._list_config, self._list_index, self._scanner.scan
        )

    def statistics(self) -> GitStatistics:
        """Return a snapshot of the counts."""
        return GitStatistics(
            MappingProxyType(dict(self._processes)),
            running=self._slots.running,
            waiting=self._slots.waiting,
            seconds=MappingProxyType(self._seconds),
        )

    def set_processes_at_once(self, number: int) -> None:
        """Change the number of children at a time; those that run go on."""
        self._slots.resize(number)

    async def run(
        self,
        *args: str,
        cwd: Path | str,
        stdin: bytes | None = None,
        check: bool = True,
        timeout_seconds: float | None = None,
        ok_codes: Collection[int] = (0,),
        output_limit: int = OUTPUT_LIMIT,
        extra_config: Sequence[ConfigPair] = (),
        extra_env: Mapping[str, str] = _NO_VARIABLES,
        git_dir: Path | None = None,
        on_output: Callable[[bytes], None] | None = None,
        merge_stderr: bool = False,
        boundary: ProcessOpener | None = None,
    ) -> GitResult:
        """Run ``git`` with ``args`` and return its result.

        Args:
            args: the verb first; verbs that take ``--no-ext-diff --no-textconv`` get them.
            cwd: directory to run in; it decides the repository unless ``git_dir`` does.
            stdin: bytes to feed; the null device where omitted.
            check: raise when the exit status is not among ``ok_codes``.
            timeout_seconds: from the start of the child, waiting for a slot not included; None: no limit.
            output_limit: bytes of stdout; a child that writes more has failed.
            extra_config: keys and values set after all others, so they win.
            extra_env: further variables, such as ``GIT_INDEX_FILE``.
            git_dir: use this repository (``GIT_DIR``) instead of that of ``cwd``.
            on_output: takes stdout piecewise instead; the result's stdout is then empty and
                ``output_limit`` does not apply. Called in the event loop: be brief.
            merge_stderr: stderr goes where stdout goes, in order.
            boundary: where the child runs, if what it leaves running is to belong to an environment.

        Raises:
            GitCommandError: it failed and ``check`` is true.
            GitOutputError: it wrote more than ``output_limit``.
            GitTimeoutError: it took longer than ``timeout_seconds`` and was ended.
            PathNotFoundError: ``cwd`` does not exist.
            ExceptionGroup: ``on_output`` failed; the child was ended.

        Cancellation: ends the child and its process group.
        """
        scan = await self.scan(cwd, git_dir=git_dir)
        env = dict(extra_env)
        if git_dir is not None:
            env["GIT_DIR"] = str(git_dir)
        env |= config_environment((*ALWAYS, *scan.pairs, *extra_config))
        argv = list(args)
        if args[0] in DIFF_VERBS:
            argv[1:1] = DIFF_GUARDS
        async with self._slots.hold((str(cwd), args[0])):
            self._processes[args[0]] += 1
            completed = await self._bounded(
                argv,
                timeout_seconds,
                _Spawn(cwd, env, stdin, output_limit, on_output, merge_stderr, boundary),
            )
        if on_output is None and completed.truncated and len(completed.stdout) >= output_limit:
            raise GitOutputError(f"{_shown(args)} failed: it wrote more than {output_limit} bytes")
        if check and completed.returncode not in ok_codes:
            raise GitCommandError(f"{_shown(args)} failed: {_reason(completed)}")
        return GitResult(completed.returncode, completed.stdout, completed.stderr)

    async def scan(self, cwd: Path | str, *, git_dir: Path | None = None) -> ConfigScan:
        """Return which keys of the repository at ``cwd`` are overridden, usually without a process.

        A caller that writes what git would filter (a commit) can look in ``disarmed`` for filters.

        Raises:
            GitCommandError: the configuration cannot be read or is beyond the limits.
        """
        dirs = find_git_dirs(cwd) if git_dir is None else git_dirs_of(git_dir)
        if dirs is None:
            await trio.lowlevel.checkpoint()
            return ConfigScan()
        return await self._scanner.scan(dirs)

    async def submodule_config(self, work_tree: Path) -> tuple[ConfigPair, ...]:
        """Return ``extra_config`` with which git may look into the submodules of ``work_tree``.

        Empty where there is nothing safe to look into; then, and only then, give git
        ``--ignore-submodules=dirty``. Without a process while nothing relevant has changed.

        Raises:
            GitCommandError: the configuration or ``.gitmodules`` cannot be read.
        """
        return await self._submodules.pairs(work_tree, await self.scan(work_tree))

    async def _list_index(self, dirs: GitDirs) -> bytes:
        listed = await self.run(
            *("ls-files", "--stage", "-z"),
            cwd=dirs.git_dir,
            git_dir=dirs.git_dir,
            timeout_seconds=self.look_seconds,
        )
        return listed.stdout

    async def _list_config(self, args: tuple[str, ...], cwd: Path) -> bytes:
        """List configuration for the scanner, with nothing overridden: listing executes nothing."""
        # A file that is named outright needs no repository; all else is the repository's own.
        env = {} if args[0] == "--file" else {"GIT_DIR": str(cwd)}
        async with self._slots.hold((str(cwd), "config")):
            self._processes["config"] += 1
            completed = await self._bounded(["config", *args], self.look_seconds, _Spawn(cwd, env))
        if completed.returncode != 0 or completed.truncated:
            raise GitCommandError(f"{_shown(('config', *args))} failed: {_reason(completed)}")
        return completed.stdout

    async def _bounded(
        self, argv: Sequence[str], timeout_seconds: float | None, spawn: "_Spawn"
    ) -> Completed:
        """Run one child within its deadline, translating what keeps it from starting."""
        limit = math.inf if timeout_seconds is None else timeout_seconds
        began = trio.current_time()
        with trio.move_on_after(limit) as deadline:
            try:
                return await run_child(
                    [self._executable, *argv],
                    cwd=spawn.cwd,
                    env=child_environ({**ENVIRONMENT, **spawn.env}, git=True),
                    stdin=spawn.stdin,
                    stdout_limit=spawn.output_limit if spawn.on_output is None else 0,
                    on_output=spawn.on_output,
                    merge_stderr=spawn.merge_stderr,
                    boundary=spawn.boundary,
                )
            except OSError as error:
                raise self._could_not_start(argv, spawn.cwd, error) from error
            finally:
                self._note_seconds(argv[0], trio.current_time() - began)
        assert deadline.cancelled_caught
        raise GitTimeoutError(f"{_shown(argv)} took longer than {limit:g} seconds")

    def _note_seconds(self, verb: str, seconds: float) -> None:
        histogram = self._seconds.get(verb)
        if histogram is None:
            histogram = self._seconds[verb] = Histogram(SECONDS_BOUNDS)
        histogram.observe(seconds)

    def _could_not_start(
        self, argv: Sequence[str], cwd: Path | str, error: OSError
    ) -> BbhostError:
        if not Path(cwd).is_dir():
            return PathNotFoundError(f"Path does not exist: {cwd}")
        if error.errno == errno.ENOENT:
            return BbhostError(
                f"{self._executable} is not installed or not on PATH", code="missing_executable"
            )
        return GitCommandError(f"{_shown(argv)} could not be started: {error.strerror}")


@frozen
class _Spawn:
    """How one child is started."""

    cwd: Path | str
    env: Mapping[str, str]
    stdin: bytes | None = None
    output_limit: int = OUTPUT_LIMIT
    on_output: Callable[[bytes], None] | None = None
    merge_stderr: bool = False
    boundary: ProcessOpener | None = None


def _shown(args: Sequence[str]) -> str:
    """The command for a message: as the caller asked for it, without what makes it safe."""
    text = " ".join(("git", *(arg for arg in args if arg not in DIFF_GUARDS)))
    return text if len(text) <= MESSAGE_LIMIT else text[:MESSAGE_LIMIT] + "..."


def _reason(completed: Completed) -> str:
    text = completed.stderr.decode("utf-8", "replace").strip()[:MESSAGE_LIMIT]
    if text:
        return text
    if completed.returncode < 0:
        return f"ended by signal {-completed.returncode}"
    return f"exit status {completed.returncode}"
