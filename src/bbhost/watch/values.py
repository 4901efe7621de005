"""What the watch service and its callers agree on: targets, answers, settings. No behaviour."""

from enum import StrEnum
from pathlib import Path
from typing import Protocol

from attrs import frozen


class WatchBackend(StrEnum):
    """How changes of one watch are found out."""

    INOTIFY = "inotify"
    """The kernel tells; the only one that can be certain."""
    WATCHFILES = "watchfiles"
    """The operating system tells, some time later, through the ``watchfiles`` library."""
    POLLING = "polling"
    """Names, sizes and times are compared now and then."""
    NONE = "none"
    """Nothing is watched; ``Coverage.reason`` says why."""


@frozen
class WatchTarget:
    """What one watch looks at. All paths are absolute.

    Without a git dir the tree is watched as plain files and nothing in it is taken as ignored.
    """

    root: str
    """The tree; a ``.git`` directly in it is not part of it."""
    git_dir: str | None = None
    """The git dir of this worktree (``.git``, or ``.git/worktrees/<name>``)."""
    common_dir: str | None = None
    """The git dir that all worktrees of the repository share."""


class IgnoreOracle(Protocol):
    """Answers which directories git ignores. Errors: any BbhostError or OSError is retried.

    Only a directory that an ignore rule itself matches, and that holds no tracked file, may be
    named: all that can ever be made in it is then ignored. ``git status --ignored=matching`` and
    ``git check-ignore`` answer so. ``--ignored=traditional`` and ``ls-files --directory`` do not:
    they also name a directory that merely holds nothing but ignored files at the moment.
    """

    async def ignored_directories(self, root: str) -> frozenset[str]:
        """Return all ignored directories below ``root``, relative, the topmost of each branch."""
        ...

    async def ignored_among(self, root: str, directories: frozenset[str]) -> frozenset[str]:
        """Return those of ``directories`` (relative to ``root``) that are ignored, by one process."""
        ...


@frozen
class ChangeBatch:
    """What changed since the last batch. At least one is true."""

    workspace: bool = False
    """The tree or the worktree's own git dir."""
    refs: bool = False
    """Branches, remote branches, tags, or the HEAD of the main worktree. The commit of this
    worktree's own HEAD is among them: HEAD names a branch, and the branch moves."""
    unknown: bool = False
    """Changes may have been missed (start, overflow, changed rules): anything may differ."""


@frozen
class Coverage:
    """What a watch covers at the moment, for people and for the daemon's own report."""

    backend: WatchBackend
    directories: int
    """Watched directories, git dirs not counted; 0 unless the kernel tells."""
    certain: bool
    reason: str = ""
    """Why it polls, waits or has been given up; empty when all is well."""


@frozen
class WatchSettings:
    """The bounds of the service. Defaults suit a developer's machine."""

    quiet_ms: int = 75
    """A batch is given out when nothing has changed for so long ..."""
    longest_ms: int = 500
    """... or so long after its first change."""
    budget_share: float = 0.5
    """Part of ``fs.inotify.max_user_watches`` that may be used; the rest is for other programs."""
    budget_watches: int | None = None
    """A fixed number of kernel watches in place of the share."""
    start_attempts: int = 60
    """Failed starts in a row after which a watch is given up until something asks again."""
    first_retry_seconds: float = 0.25
    longest_retry_seconds: float = 30.0
    poll_seconds: float = 2.0
    """Shortest time between two looks at the same polled watch."""
    poll_share: float = 0.05
    """Part of one core that all polled watches together may use."""
    poll_entries: int = 200_000
    """Files and directories looked at in one poll; a larger tree is polled in part and says so."""
    recheck_seconds: float = 60.0
    """How often a watch that polls for want of kernel watches looks for room."""
    rule_files: tuple[Path, ...] = ()
    """Files outside the repositories on which ignore rules or answers depend: the user's and the
    system's git configuration and the global excludes file. Looked at whenever the service drains,
    one ``stat`` each; a change makes every watch unsure until it has been surveyed again."""


@frozen
class WatchStatistics:
    """A snapshot of the service's cost and history."""

    instances: int
    kernel_watches: int
    budget: int
    """The most kernel watches this service will use; 0 where there is no inotify."""
    watches: tuple[tuple[WatchTarget, Coverage], ...]
    overflows: int
    surveys: int
    """Full surveys of a tree or git dir, starts included."""
    polls: int
    running_tasks: int
    """Tasks that bring a watch up or up to date right now; 0 when idle."""
