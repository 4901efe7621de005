"""The status of a workspace: one git process when it is clean, two when tracked files changed.

The branches come from the cache of refs (one process for each repository when they changed), the
comparison with a merge base from the cache by commit ids (see ``merge_base.py``).

Changes inside a submodule count as far as looking into it is safe (see ``submodules.py``); beyond
that only a HEAD that moved does.
"""

import hashlib
import os

import trio
from attrs import frozen

from bbhost.domain.status import (
    BranchStatus,
    FileStatus,
    MergeBaseStatus,
    WorkingTreeState,
    WorkingTreeStatus,
    WorkspaceFileStatus,
    WorkspaceStatus,
)
from bbhost.workspace.git import Git
from bbhost.workspace.hardening import LEAVE_INDEX_ALONE, ConfigPair
from bbhost.workspace.merge_base import read_merge_base
from bbhost.workspace.numstat import NO_COUNTS, DiffSummary, parse_diff_summary
from bbhost.workspace.porcelain import PorcelainFile, PorcelainStatus, parse_porcelain
from bbhost.workspace.refs import RefsCache
from bbhost.workspace.repository import Repository

FINGERPRINT_FILES = 5000
"""Files whose stat data go into the fingerprint. In a workspace with more changed and untracked
files, editing one beyond this number changes the fingerprint only if git's own output changes."""

_STATUS_ARGS = (
    "status",
    "--porcelain=v2",
    "--branch",
    "--no-ahead-behind",
    "--untracked-files=all",
    "--find-renames",
    "-z",
)
IGNORE_INSIDE_SUBMODULES = "--ignore-submodules=dirty"
_stat_limiter = trio.CapacityLimiter(2)
"""Threads that look at files for fingerprints."""

_NOTHING_COUNTED = DiffSummary((), {})


@frozen
class StatusReading:
    """A status and what is needed to notice that it has changed."""

    status: WorkspaceStatus
    fingerprint: str
    """Differs when the branch, HEAD, the default branch, the status or the content of a changed or
    untracked file differs. The same whatever merge base was asked for."""
    ignored_directories: tuple[str, ...] | None
    """Relative to the top of the work tree; None unless asked for."""


async def read_status(
    git: Git,
    refs_cache: RefsCache,
    repository: Repository,
    merge_base_branch: str | None = None,
    *,
    with_ignored: bool = False,
) -> StatusReading:
    """Read the status of a work tree.

    Args:
        merge_base_branch: also compare HEAD with this branch.
        with_ignored: also tell the ignored directories, from the same process.

    Raises:
        GitCommandError: git failed; among others, the merge base branch does not exist.
        GitTimeoutError: one of its children took longer than ``Git.look_seconds``.
        PathNotFoundError: the work tree is gone.

    Cancellation: ends the git child under way.
    """
    inside = await git.submodule_config(repository.work_tree)
    options = () if inside else (IGNORE_INSIDE_SUBMODULES,)
    printed = await git.run(
        *_STATUS_ARGS,
        *options,
        *(("--ignored=matching",) if with_ignored else ()),
        cwd=repository.work_tree,
        timeout_seconds=git.look_seconds,
        extra_config=inside,
    )
    found = parse_porcelain(printed.stdout)
    counted = await _count_lines(git, repository, found, options, inside)
    refs = await refs_cache.refs(repository)
    merge_base = None
    if merge_base_branch is not None:
        merge_base = await read_merge_base(
            git, refs_cache.comparisons, repository, refs, merge_base_branch, found.head
        )
    default_branch = refs.default_branch or found.branch or ""
    status = WorkspaceStatus(
        working_tree=_working_tree(found, counted, merge_base),
        branch=BranchStatus(found.branch, default_branch),
        merge_base=merge_base,
    )
    fingerprint = await _fingerprint(repository, found, default_branch, counted)
    ignored = found.ignored_directories if with_ignored else None
    return StatusReading(status, fingerprint, ignored)


async def _count_lines(
    git: Git,
    repository: Repository,
    found: PorcelainStatus,
    options: tuple[str, ...],
    inside: tuple[ConfigPair, ...],
) -> DiffSummary:
    if found.head is None or not found.has_tracked_changes:
        return _NOTHING_COUNTED
    printed = await git.run(
        "diff",
        "--numstat",
        "--find-renames",
        *options,
        "-z",
        found.head,
        "--",
        cwd=repository.work_tree,
        timeout_seconds=git.look_seconds,
        extra_config=(*inside, LEAVE_INDEX_ALONE),
    )
    return parse_diff_summary(printed.stdout)


def _working_tree(
    found: PorcelainStatus, counted: DiffSummary, merge_base: MergeBaseStatus | None
) -> WorkingTreeStatus:
    unmerged = merge_base is not None and merge_base.has_committed_unmerged_changes
    return WorkingTreeStatus(
        has_uncommitted_changes=bool(found.files),
        state=_state(found, unmerged),
        insertions=counted.insertions,
        deletions=counted.deletions,
        files=tuple(_file(file, counted) for file in found.files),
    )


def _file(file: PorcelainFile, counted: DiffSummary) -> WorkspaceFileStatus:
    # A file that was taken out of the index only is listed twice, and its lines are the tracked one's.
    untracked = file.status is FileStatus.UNTRACKED
    counts = NO_COUNTS if untracked else counted.counts.get(file.name, NO_COUNTS)
    return WorkspaceFileStatus(file.path, file.status, counts.insertions, counts.deletions)


def _state(found: PorcelainStatus, unmerged: bool) -> WorkingTreeState:
    if found.files and unmerged:
        return WorkingTreeState.DIRTY_AND_COMMITTED_UNMERGED
    if found.has_tracked_changes:
        return WorkingTreeState.DIRTY
    if found.files:
        return WorkingTreeState.UNTRACKED
    return WorkingTreeState.COMMITTED_UNMERGED if unmerged else WorkingTreeState.CLEAN


async def _fingerprint(
    repository: Repository, found: PorcelainStatus, default_branch: str, counted: DiffSummary
) -> str:
    # Ignored directories come and go without changing the status, so git's output is not used whole.
    digest = hashlib.sha256()
    for part in (found.head, found.branch, default_branch):
        digest.update(f"{part!r}\0".encode("utf-8", "surrogateescape"))
    for file in found.files:
        counts = counted.counts.get(file.name, NO_COUNTS)
        digest.update(
            file.name + f"\0{file.status}{counts.insertions}{counts.deletions}\0".encode()
        )
    if found.files:
        names = [file.name for file in found.files[:FINGERPRINT_FILES]]
        digest.update(
            await trio.to_thread.run_sync(
                _stat_all, os.fsencode(repository.work_tree), names, limiter=_stat_limiter
            )
        )
    return digest.hexdigest()


def _stat_all(root: bytes, names: list[bytes]) -> bytes:
    stamps = []
    for name in names:
        try:
            found = os.lstat(root + b"/" + name)
        except OSError:
            stamps.append("-")
            continue
        stamps.append(
            f"{found.st_mtime_ns} {found.st_ctime_ns} {found.st_size} {found.st_ino} {found.st_mode}"
        )
    return "\n".join(stamps).encode()
