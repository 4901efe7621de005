"""What lies beneath the managed roots and belongs to no live environment, with the evidence. Blocking, reads only.

Only one thing makes a leftover removable without being asked for: a tombstone that says that the
server ordered this very workspace destroyed. Everything else is shown, and stays.
"""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from attrs import frozen

from bbhost.daemon.managed_places import (
    Place,
    known_repositories,
    list_places,
    list_registered,
)
from bbhost.domain.environment import EnvironmentRecord, EnvironmentState, TeardownCause
from bbhost.domain.workspace import ManagedWorktreeSpec, WorkspaceKind


class LeftoverClass(StrEnum):
    """What may be done with a leftover."""

    REMOVABLE = "removable"
    """A tombstone says that it was to be destroyed."""
    KEPT = "kept"
    """A tombstone says that its files were to stay (the environment was retired)."""
    UNCLEAR = "unclear"
    """Nothing says whose it is or what is to become of it."""


class LeftoverForm(StrEnum):
    """What is left over."""

    WORKSPACE = "workspace"
    """Files at the path."""
    REGISTRATION = "registration"
    """Git's entry of a worktree whose files are gone."""


@frozen
class Leftover:
    """One thing that no live environment claims."""

    id: str
    """Names it in commands: its path within the data directory."""
    path: Path
    kind: WorkspaceKind
    form: LeftoverForm
    classification: LeftoverClass
    evidence: tuple[str, ...]
    environment_id: str
    """Of the tombstone; where there is none, what the path suggests."""
    incarnation: int
    """0 where no record says."""
    source_path: Path | None = None
    """A checkout or git dir of its repository, where known."""
    half_removed: bool = False


def find_leftovers(data_dir: Path, records: Iterable[EnvironmentRecord]) -> list[Leftover]:
    """Return the leftovers of a data directory, workspaces first."""
    records = list(records)
    claims = _claims(records)
    tombstones = _tombstones(records)
    leftovers = [
        _workspace(data_dir, place, tombstones)
        for place in list_places(data_dir, records)
        if not claims.cover(place.path)
    ]
    for registered in list_registered(data_dir, known_repositories(data_dir, records)):
        if registered.exists or claims.cover(registered.path):
            continue
        classification, evidence, record = _judge(registered.path, tombstones)
        if registered.locked:
            classification = LeftoverClass.KEPT
            evidence = (*evidence, "it is locked")
        leftovers.append(
            Leftover(
                _id(data_dir, registered.path),
                registered.path,
                WorkspaceKind.MANAGED_WORKTREE,
                LeftoverForm.REGISTRATION,
                classification,
                (f"{registered.registration} registers it", "its files are gone", *evidence),
                _environment(registered.path, data_dir, record),
                0 if record is None else record.incarnation,
                registered.common_dir,
            )
        )
    return leftovers


def still_stands(leftover: Leftover, records: Iterable[EnvironmentRecord]) -> bool:
    """Whether the records still say of a leftover what they said when it was found. Looks at no disk."""
    records = list(records)
    if _claims(records).cover(leftover.path):
        return False
    record = _tombstones(records).get(leftover.path)
    return (0 if record is None else record.incarnation) == leftover.incarnation


def _workspace(
    data_dir: Path, place: Place, tombstones: dict[Path, EnvironmentRecord]
) -> Leftover:
    classification, evidence, record = _judge(place.path, tombstones)
    source = None
    if record is not None and isinstance(record.spec, ManagedWorktreeSpec):
        source = Path(record.spec.source_path)
    if place.half_removed:
        classification = LeftoverClass.REMOVABLE
        evidence = ("its name says that removing it had begun",)
    elif place.path.is_symlink() or not place.path.is_dir():
        classification = LeftoverClass.UNCLEAR
        evidence = (*evidence, "it is not a directory")
    return Leftover(
        _id(data_dir, place.path),
        place.path,
        place.kind,
        LeftoverForm.WORKSPACE,
        classification,
        evidence,
        _environment(place.path, data_dir, record),
        0 if record is None else record.incarnation,
        source,
        place.half_removed,
    )


def _judge(
    path: Path, tombstones: dict[Path, EnvironmentRecord]
) -> tuple[LeftoverClass, tuple[str, ...], EnvironmentRecord | None]:
    record = tombstones.get(path)
    if record is None:
        return LeftoverClass.UNCLEAR, ("no record names it",), None
    says = f"the tombstone of {record.environment_id}.{record.incarnation} says {record.cause}"
    if record.cause is TeardownCause.DESTROY:
        return LeftoverClass.REMOVABLE, (says,), record
    if record.cause is TeardownCause.RETIRE:
        return LeftoverClass.KEPT, (says, "its files were to stay"), record
    return LeftoverClass.UNCLEAR, (says, "which removes only what provisioning made"), record


def _tombstones(records: Iterable[EnvironmentRecord]) -> dict[Path, EnvironmentRecord]:
    """The latest tombstone of each path."""
    latest: dict[Path, EnvironmentRecord] = {}
    for record in records:
        if record.state is not EnvironmentState.TOMBSTONED:
            continue
        if record.kind is WorkspaceKind.UNMANAGED:
            continue
        path = Path(record.path)
        other = latest.get(path)
        if other is None or record.changed_at >= other.changed_at:
            latest[path] = record
    return latest


@frozen
class _Claims:
    """Where live environments have their workspaces."""

    own: frozenset[str]
    around: frozenset[str]
    """Directories that one of them lies in."""

    def cover(self, path: Path) -> bool:
        """Whether a live environment has its workspace there, within it, or around it."""
        text = str(path)
        return (
            text in self.own
            or text in self.around
            or any(str(parent) in self.own for parent in path.parents)
        )


def _claims(records: Iterable[EnvironmentRecord]) -> _Claims:
    live = [Path(r.path) for r in records if r.state is not EnvironmentState.TOMBSTONED]
    around = {str(parent) for path in live for parent in path.parents}
    return _Claims(frozenset(map(str, live)), frozenset(around))


def _environment(path: Path, data_dir: Path, record: EnvironmentRecord | None) -> str:
    if record is not None:
        return record.environment_id
    return path.relative_to(data_dir).parts[1]


def _id(data_dir: Path, path: Path) -> str:
    return str(path.relative_to(data_dir))
