"""Garbage collection: leftovers, rescued work and trash past their time. Dry unless told otherwise.

Leftovers go through the same steps as a destroyed environment: looked at, rescued, moved to the
trash, deregistered. What is not clear is only shown; it goes when it is asked for by its id, and even
then only where path and git registration name each other.
"""

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from bbhost.daemon.leftovers import (
    Leftover,
    LeftoverClass,
    LeftoverForm,
    find_leftovers,
    still_stands,
)
from bbhost.daemon.managed_places import known_repositories
from bbhost.domain.environment import EnvironmentRecord
from bbhost.domain.ids import EnvironmentId
from bbhost.domain.workspace import WorkspaceKind
from bbhost.errors import BbhostError, NotRemovableError, WorktreeLockedError
from bbhost.toolkit.faults import fault_point
from bbhost.workspace.disk import on_disk
from bbhost.workspace.evidence import WorktreeRemoval
from bbhost.workspace.managed_root import PERSONAL_WORKSPACES, require_removable_directory
from bbhost.workspace.removal import remove_managed_worktree, remove_personal_workspace
from bbhost.workspace.rescue_list import RETENTION_SECONDS, expire_rescues, list_rescues
from bbhost.workspace.saved_files import SaveLimits
from bbhost.workspace.tools import WorkspaceTools
from bbhost.workspace.transcript import wall_clock_ms
from bbhost.workspace.trash_emptier import delete_tree, empty_trash

log = logging.getLogger(__name__)

KEEP_REASON = "it was removed as a leftover"


class GcOutcome(StrEnum):
    """What became of one thing. Words may be added, never changed."""

    REMOVED = "removed"
    WOULD_REMOVE = "would_remove"
    KEPT = "kept"
    """A retired environment's files, or locked."""
    UNCLEAR = "unclear"
    """Shown only; ask for it by its id."""
    IN_USE = "in_use"
    """Claimed by a live environment meanwhile."""
    REFUSED = "refused"
    """Asked for, but it is not certain that it is ours; nothing was touched."""
    GONE = "gone"
    """Nothing was there any more."""
    FAILED = "failed"
    """Removing it failed; trying again is safe."""


class GcKind(StrEnum):
    """What was collected."""

    WORKSPACE = "workspace"
    REGISTRATION = "registration"
    RESCUE = "rescue"
    TRASH = "trash"


@frozen
class GcItem:
    """One thing and what became of it."""

    kind: GcKind
    id: str
    path: str
    outcome: GcOutcome
    evidence: tuple[str, ...] = ()
    detail: str = ""
    """Why it was refused or failed."""

    def to_json(self) -> dict[str, Any]:
        """Values for a JSON document."""
        return {
            "kind": str(self.kind),
            "id": self.id,
            "path": self.path,
            "outcome": str(self.outcome),
            "evidence": list(self.evidence),
            "detail": self.detail,
        }


@frozen
class GcRequest:
    """What to collect."""

    dry_run: bool = True
    include_unclear: frozenset[str] = frozenset()
    """Ids of leftovers that are to go although nothing says that they may."""


@frozen
class GcReport:
    """What a collection did, or would do."""

    dry_run: bool
    items: tuple[GcItem, ...]
    unknown_ids: tuple[str, ...] = ()
    """Asked for, but no leftover has such an id."""

    @property
    def succeeded(self) -> bool:
        """Whether nothing that should have gone has stayed."""
        bad = {GcOutcome.FAILED, GcOutcome.REFUSED}
        return not self.unknown_ids and not any(item.outcome in bad for item in self.items)

    def to_json(self) -> dict[str, Any]:
        """Values for a JSON document."""
        return {
            "dryRun": self.dry_run,
            "items": [item.to_json() for item in self.items],
            "unknownIds": list(self.unknown_ids),
        }


@frozen
class Collector:
    """Collects in one data directory; one collection at a time."""

    tools: WorkspaceTools
    records: Callable[[], Iterable[EnvironmentRecord]]
    """What is on record at the moment of asking."""
    hold: Callable[[EnvironmentId], AbstractAsyncContextManager[object]]
    """Keeps an id from being given a new incarnation meanwhile."""
    limits: SaveLimits

    async def collect(self, request: GcRequest) -> GcReport:
        """Collect everything that may go.

        Cancellation: safe; what was removed is in the trash or gone, the rest is as it was.
        """
        leftovers = await on_disk(find_leftovers, self.tools.data_dir, list(self.records()))
        items = [await self._collect_leftover(leftover, request) for leftover in leftovers]
        items += await self._collect_rescues(request.dry_run)
        items += await self._collect_trash(request.dry_run)
        unknown = sorted(request.include_unclear - {leftover.id for leftover in leftovers})
        return GcReport(request.dry_run, tuple(items), tuple(unknown))

    async def sweep(self) -> list[GcItem]:
        """Remove what tombstones say is to be gone, and nothing else: what is done at start."""
        leftovers = await on_disk(find_leftovers, self.tools.data_dir, list(self.records()))
        request = GcRequest(dry_run=False)
        return [
            await self._collect_leftover(leftover, request)
            for leftover in leftovers
            if leftover.classification is LeftoverClass.REMOVABLE
        ]

    async def _collect_leftover(self, leftover: Leftover, request: GcRequest) -> GcItem:
        item = GcItem(
            GcKind(leftover.form),
            leftover.id,
            str(leftover.path),
            GcOutcome.WOULD_REMOVE,
            leftover.evidence,
        )
        wanted = leftover.id in request.include_unclear
        if leftover.classification is not LeftoverClass.REMOVABLE and not wanted:
            kept = leftover.classification is LeftoverClass.KEPT
            return evolve(item, outcome=GcOutcome.KEPT if kept else GcOutcome.UNCLEAR)
        if request.dry_run:
            return item
        async with self.hold(EnvironmentId(leftover.environment_id)):
            return await self._remove(leftover, item)

    async def _remove(self, leftover: Leftover, item: GcItem) -> GcItem:
        # An environment may have been provisioned there since it was looked at.
        if not still_stands(leftover, self.records()):
            return evolve(item, outcome=GcOutcome.IN_USE)
        fault_point("gc.before_remove")
        try:
            removed = await self._discard(leftover)
        except (NotRemovableError, WorktreeLockedError) as error:
            return evolve(item, outcome=GcOutcome.REFUSED, detail=error.message)
        except (BbhostError, OSError) as error:
            log.warning("cannot remove the leftover %s: %s", leftover.path, error)
            return evolve(item, outcome=GcOutcome.FAILED, detail=str(error))
        log.info("removed a leftover", extra={"path": str(leftover.path), "id": leftover.id})
        return evolve(item, outcome=GcOutcome.REMOVED if removed else GcOutcome.GONE)

    async def _discard(self, leftover: Leftover) -> bool:
        data_dir = self.tools.data_dir
        if leftover.half_removed:
            root = data_dir / leftover.path.relative_to(data_dir).parts[0]
            await on_disk(require_removable_directory, root, leftover.path)
            await delete_tree(leftover.path)
            return True
        if leftover.kind is WorkspaceKind.PERSONAL:
            return await remove_personal_workspace(
                self.tools,
                leftover.path.relative_to(data_dir / PERSONAL_WORKSPACES).parts[0],
                leftover.incarnation,
                leftover.path,
                keep_reason=KEEP_REASON,
            )
        removal = WorktreeRemoval(
            leftover.environment_id,
            leftover.incarnation,
            leftover.path,
            data_dir,
            leftover.source_path,
        )
        report = await remove_managed_worktree(self.tools, removal, limits=self.limits)
        return report.removed or leftover.form is LeftoverForm.REGISTRATION

    async def _collect_rescues(self, dry_run: bool) -> list[GcItem]:
        older_than = int(time.time()) - RETENTION_SECONDS
        items = []
        repositories = await on_disk(known_repositories, self.tools.data_dir, list(self.records()))
        for repository in repositories:
            try:
                if dry_run:
                    rescues = await list_rescues(self.tools.git, repository)
                    old = [one for one in rescues if one.rescued_at_s < older_than]
                else:
                    old = await expire_rescues(self.tools.git, repository, older_than_s=older_than)
            except BbhostError as error:
                items.append(_unreadable(repository, error))
                continue
            outcome = GcOutcome.WOULD_REMOVE if dry_run else GcOutcome.REMOVED
            evidence = (f"older than {RETENTION_SECONDS // 86_400} days",)
            items += [
                GcItem(GcKind.RESCUE, one.name, str(repository), outcome, evidence) for one in old
            ]
        return items

    async def _collect_trash(self, dry_run: bool) -> list[GcItem]:
        now = wall_clock_ms()
        due = [
            entry
            for entry in await on_disk(self.tools.trash.entries)
            if entry.note is None or (entry.note.keep_until_ms or 0) <= now
        ]
        failed: frozenset[Path] = frozenset()
        if due and not dry_run:
            failed = frozenset((await empty_trash(self.tools.trash, now)).failed)
        items = []
        for entry in due:
            outcome = GcOutcome.WOULD_REMOVE if dry_run else GcOutcome.REMOVED
            if entry.directory in failed:
                outcome = GcOutcome.FAILED
            evidence = ("its retention time has passed",) if entry.note else ("it has no note",)
            items.append(
                GcItem(GcKind.TRASH, entry.directory.name, str(entry.directory), outcome, evidence)
            )
        return items


def _unreadable(repository: Path, error: BbhostError) -> GcItem:
    return GcItem(
        GcKind.RESCUE,
        "",
        str(repository),
        GcOutcome.FAILED,
        detail=f"cannot look: {error.message}",
    )
