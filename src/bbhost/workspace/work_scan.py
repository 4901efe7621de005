"""What in a worktree git does not have in a commit yet, exactly: for rescuing it.

One ``git status`` that gives modes and object ids, so that the index can be kept without writing it.
"""

from collections.abc import Iterator

from attrs import frozen

from bbhost.workspace.git import Git
from bbhost.workspace.repository import Repository

SCAN_SECONDS = 120.0
"""Deadline of the scan. Losing work is worse than waiting."""
ABSENT_MODE = b"000000"
GITLINK_MODE = b"160000"


@frozen
class Blob:
    """A version of a file that git has already."""

    mode: bytes
    """Six octal digits."""
    object_id: bytes


@frozen
class ChangedPath:
    """A tracked path that differs between HEAD, index and worktree."""

    path: bytes
    staged: bool
    """The index differs from HEAD."""
    index: Blob | None
    """What the index has; None: it has no such path, or has it in conflict."""
    edited: bool
    """The worktree differs from the index."""
    stages: tuple[tuple[int, Blob], ...] = ()
    """A conflict: the versions 1 (base), 2 (ours) and 3 (theirs), as far as there are."""
    submodule: bool = False


@frozen
class WorkFound:
    """The result of a scan."""

    head: str | None
    """Commit id; None before the first commit."""
    changes: tuple[ChangedPath, ...]
    untracked: tuple[bytes, ...]
    """Paths of files that are neither tracked nor ignored."""
    nested: tuple[bytes, ...]
    """Directories that are repositories of their own; git does not look into them."""


async def scan_work(git: Git, repository: Repository) -> WorkFound:
    """Find the work in a worktree with one process. Takes no lock and writes nothing.

    Raises:
        GitCommandError: git failed, or there is more work than its output limit holds.
        GitTimeoutError: it took longer than ``SCAN_SECONDS``.
    """
    result = await git.run(
        "status",
        "--porcelain=v2",
        "--branch",
        "-z",
        "--untracked-files=all",
        "--no-renames",
        "--ignore-submodules=dirty",
        cwd=repository.work_tree,
        timeout_seconds=SCAN_SECONDS,
    )
    return parse_work(result.stdout)


def parse_work(listing: bytes) -> WorkFound:
    """Read ``git status --porcelain=v2 --branch -z --no-renames``."""
    head: str | None = None
    changes: list[ChangedPath] = []
    untracked: list[bytes] = []
    nested: list[bytes] = []
    for record in listing.split(b"\0"):
        kind, rest = record[:2], record[2:]
        if kind == b"# " and rest.startswith(b"branch.oid "):
            oid = rest.removeprefix(b"branch.oid ").decode("ascii")
            head = None if oid == "(initial)" else oid
        elif kind == b"1 ":
            changes.append(_ordinary(rest))
        elif kind == b"u ":
            changes.append(_unmerged(rest))
        elif kind == b"? ":
            (nested if rest.endswith(b"/") else untracked).append(rest)
    return WorkFound(head, tuple(changes), tuple(untracked), tuple(nested))


def _ordinary(rest: bytes) -> ChangedPath:
    states, sub, _, index_mode, _, _, index_id, path = rest.split(b" ", 7)
    return ChangedPath(
        path=path,
        staged=states[:1] != b".",
        index=None if index_mode == ABSENT_MODE else Blob(index_mode, index_id),
        edited=states[1:2] != b".",
        submodule=sub.startswith(b"S"),
    )


def _unmerged(rest: bytes) -> ChangedPath:
    _, sub, *modes, _, id1, id2, id3, path = rest.split(b" ", 9)
    return ChangedPath(
        path=path,
        staged=True,
        index=None,
        edited=True,
        stages=tuple(_stages(modes, [id1, id2, id3])),
        submodule=sub.startswith(b"S"),
    )


def _stages(modes: list[bytes], ids: list[bytes]) -> Iterator[tuple[int, Blob]]:
    for number, (mode, object_id) in enumerate(zip(modes, ids, strict=True), start=1):
        if mode != ABSENT_MODE:
            yield number, Blob(mode, object_id)
