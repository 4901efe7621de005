"""Keeping the work of a worktree that is about to be removed.

Under ``refs/bbhost/rescue/<environment>/<incarnation>/`` lie, as commits on the worktree's HEAD:

* ``worktree``: every changed and every untracked (not ignored) file, byte for byte;
* ``index``: what was staged, if anything was; a path in conflict with our side of it;
* ``conflicts``: all sides of conflicts, as ``<stage>/<path>``;
* ``head``: HEAD itself, if no branch or tag leads to it.

(``branch`` is provisioning's: see ``replaced_branch.py``.)

What refs cannot hold (too much, repositories within the worktree) is said in ``keep_reason``: then the trash must
keep the files. Rescuing is best effort by design: it never raises for a fault of git or the disk, because
removal must go on, but such a fault also means that the trash keeps the files.
"""

import os
import time
from collections.abc import Iterator

from attrs import field, frozen

from bbhost.domain.status import WorkspaceStatus
from bbhost.errors import BbhostError
from bbhost.toolkit.faults import fault_point
from bbhost.workspace import import_stream
from bbhost.workspace.disk import on_disk
from bbhost.workspace.evidence import Evidence, WorktreeRemoval
from bbhost.workspace.git import Git
from bbhost.workspace.import_run import import_commits
from bbhost.workspace.import_stream import ImportStream
from bbhost.workspace.repository import Repository, read_head
from bbhost.workspace.rescue_names import IDENTITY, RescueNote, format_note, rescue_prefix
from bbhost.workspace.saved_files import FileVersion, SaveLimits, TooMuchWorkError, store_files
from bbhost.workspace.tools import WorkspaceTools
from bbhost.workspace.work_scan import Blob, ChangedPath, WorkFound, scan_work

STORE_SECONDS = 120.0
"""Deadline of each git child that stores work."""


@frozen
class RescueOutcome:
    """What was kept."""

    refs: tuple[str, ...] = ()
    keep_reason: str = ""
    """Why the files themselves must be kept as well; empty where git has everything."""


NOTHING_TO_RESCUE = RescueOutcome()


async def rescue_worktree(
    tools: WorkspaceTools,
    removal: WorktreeRemoval,
    evidence: Evidence,
    *,
    certain_status: WorkspaceStatus | None = None,
    limits: SaveLimits | None = None,
) -> RescueOutcome:
    """Keep what only this worktree has. Repeating it replaces what an earlier attempt kept.

    Args:
        certain_status: the status of the worktree if it is certain to be true now; where it says that nothing is
            uncommitted and HEAD is on a branch, no process is needed.

    Cancellation: safe; refs are written at the end, all or none.
    """
    repository = evidence.repository
    if not evidence.exists or repository is None:
        return RescueOutcome(keep_reason=evidence.doubt)
    submodules = await on_disk((repository.git_dir / "modules").is_dir)
    reason = "it has submodules" if submodules else ""
    try:
        if _is_clean(certain_status) and await on_disk(_on_branch, repository):
            return RescueOutcome(keep_reason=reason)
        found = await scan_work(tools.git, repository)
        fault_point("rescue.scanned")
        if found.nested:
            reason = f"{os.fsdecode(found.nested[0])} is a repository of its own"
        refs = await _store(tools.git, removal, repository, found, limits or SaveLimits())
        return RescueOutcome(refs, reason)
    except TooMuchWorkError as error:
        return RescueOutcome(keep_reason=str(error))
    except (BbhostError, OSError) as error:
        return RescueOutcome(keep_reason=f"its work could not be stored: {error}")


def _is_clean(status: WorkspaceStatus | None) -> bool:
    return (
        status is not None
        and not status.working_tree.has_uncommitted_changes
        and not status.working_tree.files
    )


def _on_branch(repository: Repository) -> bool:
    head = read_head(repository)
    return head is not None and head.branch is not None


async def _store(
    git: Git,
    removal: WorktreeRemoval,
    repository: Repository,
    found: WorkFound,
    limits: SaveLimits,
) -> tuple[str, ...]:
    lost_head = None if await _head_is_kept(git, repository, found.head) else found.head
    if not found.changes and not found.untracked and lost_head is None:
        return ()
    wanted = [*found.untracked, *(c.path for c in found.changes if not c.submodule)]
    files = await store_files(git, repository, wanted, limits)
    fault_point("rescue.files_stored")
    rescue = _Rescue(removal, repository, found, files)
    stream, refs = rescue.stream(lost_head)
    await import_commits(git, repository.common_dir, stream, timeout_seconds=STORE_SECONDS)
    fault_point("rescue.stored")
    return refs


async def _head_is_kept(git: Git, repository: Repository, head: str | None) -> bool:
    """Whether a branch or tag leads to the commit."""
    if head is None or await on_disk(_on_branch, repository):
        return True
    result = await git.run(
        "for-each-ref",
        "--count=1",
        f"--contains={head}",
        "--format=%(refname)",
        "refs/heads",
        "refs/remotes",
        "refs/tags",
        cwd=repository.common_dir,
        git_dir=repository.common_dir,
        timeout_seconds=STORE_SECONDS,
    )
    return bool(result.stdout.strip())


@frozen
class _Rescue:
    removal: WorktreeRemoval
    repository: Repository
    found: WorkFound
    files: dict[bytes, FileVersion]
    time_s: int = field(factory=lambda: int(time.time()))

    def stream(self, lost_head: str | None) -> tuple[bytes, tuple[str, ...]]:
        """Return the import stream and the refs it makes."""
        prefix = rescue_prefix(self.removal.environment_id, self.removal.incarnation)
        stream = ImportStream(IDENTITY, self.time_s)
        refs = []

        def add(part: str, parent: str | None, changes: Iterator[bytes]) -> None:
            refs.append(prefix + part)
            stream.commit(prefix + part, format_note(self._note(), part), parent, changes)

        add("worktree", self.found.head, self._worktree())
        if any(change.staged for change in self.found.changes):
            add("index", self.found.head, self._index())
        if any(change.stages for change in self.found.changes):
            add("conflicts", None, self._conflicts())
        if lost_head is not None:
            refs.append(prefix + "head")
            stream.point(prefix + "head", lost_head)
        return stream.finish(), tuple(refs)

    def _note(self) -> RescueNote:
        head = read_head(self.repository)
        modes = {
            os.fsdecode(path): version.permissions
            for path, version in self.files.items()
            if version.permissions is not None
        }
        return RescueNote(
            self.removal.environment_id,
            self.removal.incarnation,
            str(self.removal.path),
            None if head is None else head.branch,
            modes,
        )

    def _worktree(self) -> Iterator[bytes]:
        # Deletions first: a directory may have taken the place of a deleted file.
        for change in self.found.changes:
            if change.path not in self.files and not change.submodule:
                yield import_stream.delete(change.path)
        for change in self.found.changes:
            if change.submodule:
                yield from _put_index(change)
        for path, version in self.files.items():
            yield version.command(path)

    def _index(self) -> Iterator[bytes]:
        staged = [change for change in self.found.changes if change.staged]
        for change in staged:
            if change.index is None and not change.stages:
                yield import_stream.delete(change.path)
        for change in staged:
            yield from _put_index(change)

    def _conflicts(self) -> Iterator[bytes]:
        for change in self.found.changes:
            for stage, blob in change.stages:
                path = b"%d/%s" % (stage, change.path)
                yield import_stream.put(blob.mode, blob.object_id, path)


def _put_index(change: ChangedPath) -> Iterator[bytes]:
    blob = change.index or _our_side(change)
    if blob is not None:
        yield import_stream.put(blob.mode, blob.object_id, change.path)


def _our_side(change: ChangedPath) -> Blob | None:
    sides = dict(change.stages)
    return sides.get(2) or sides.get(3) or sides.get(1)
