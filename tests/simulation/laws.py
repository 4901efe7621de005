"""What must be true of every history. Checked while it happens, so that the history ends at the fault.

Effects are attributed to an incarnation by the tasks they run in: every owner runs in a task that is
named after its incarnation, and whatever it starts is beneath it.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakSet

import trio
from attrs import define, field

from bbhost.domain.environment import EnvironmentRecord, EnvironmentState, TeardownCause
from bbhost.domain.ids import CommandId, EnvironmentId, Incarnation
from bbhost.domain.workspace import AttachSpec, WorkspaceKind
from bbhost.journal.values import InboxEntry
from tests.simulation.disk import Disk, Files, Owner

S = EnvironmentState
_STEPS = {
    (S.PROVISIONING, S.PROVISIONING),
    (S.PROVISIONING, S.READY),
    (S.PROVISIONING, S.DESTROYING),
    (S.READY, S.DESTROYING),
    (S.DESTROYING, S.READY),
    (S.DESTROYING, S.TOMBSTONED),
    (S.TOMBSTONED, S.TOMBSTONED),
}
_OWNER = re.compile(r"environment (\S+)\.(\d+)$")
MAILBOX = 8
"""Entries of history within which a message sent is a message taken."""
MAX_HISTORY = 20_000
"""Entries kept; a schedule has a few hundred. Beyond it the oldest are dropped."""


def chain_of(task: trio.lowlevel.Task | None) -> list[str]:
    """Names of ``task`` and of the tasks above it, innermost first."""
    names = []
    while task is not None:
        names.append(task.name)
        task = None if task.parent_nursery is None else task.parent_nursery.parent_task
    return names


def acting_owner() -> Owner | None:
    """The incarnation on whose behalf the present task runs."""
    for name in chain_of(trio.lowlevel.current_task()):
        match = _OWNER.match(name)
        if match:
            return EnvironmentId(match[1]), Incarnation(int(match[2]))
    return None


def only_tried(record: EnvironmentRecord | None) -> bool:
    """Whether a record says no more than that an attach failed: such an id is as good as never seen."""
    return (
        record is not None
        and record.state is S.TOMBSTONED
        and record.cause is TeardownCause.ROLLBACK
        and isinstance(record.spec, AttachSpec)
    )


class BrokenLawError(AssertionError):
    """A history that must not be."""


@define(eq=False, repr=False)
class Laws:
    """The history so far, and what is wrong with it."""

    disk: Disk
    history: list[tuple[float, str, str]] = field(factory=list)
    broken: str | None = None
    alive: dict[Owner, list[str]] = field(factory=dict)
    """Watches, calls and guests that exist, by incarnation."""
    busy: dict[Owner, int] = field(factory=dict)
    """Guests that keep an incarnation from being idle."""
    stages: dict[Owner, list[str]] = field(factory=dict)
    """Steps of teardown that are under way."""
    live: dict[EnvironmentId, None] | None = None
    """What the server has said is live, as of now; None: it has not said."""
    retired: dict[EnvironmentId, None] = field(factory=dict)
    unwanted_before: dict[EnvironmentId, None] = field(factory=dict)
    """Ids that the list before the present one did not want."""
    listed_at: int = 0
    """Length of the history when the present list came."""
    welcomed: dict[EnvironmentId, int] = field(factory=dict)
    """Number of the list after which an id was last ordered to be provisioned."""
    lists: int = 0
    """Number of lists that the server has sent."""
    began: dict[CommandId, int] = field(factory=dict)
    """How many of them there were when a command began to run."""
    ordered: dict[EnvironmentId, None] = field(factory=dict)
    """Ids whose destruction has ever been ordered."""
    dismissed: dict[EnvironmentId, None] = field(factory=dict)
    """Ids that were destroyed since the last list was made, or whose result is unreported."""
    excluded: WeakSet[trio.lowlevel.Task] = field(factory=WeakSet)
    """Tasks of commands that must not attach: the server had excluded their id when they came."""
    forgotten_ids: dict[EnvironmentId, None] = field(factory=dict)
    """Ids whose tombstone has been forgotten at some time."""
    untold: dict[EnvironmentId, int] = field(factory=dict)
    """The latest write of a user in an environment, where nobody has been told since."""
    guests_broken: int = 0
    processes: Callable[[Owner], list[str]] = lambda _owner: []

    # --- the history ------------------------------------------------------------------------

    def note(self, name: str, subject: str) -> None:
        """Write down what happens."""
        self.history.append((trio.current_time(), name, subject))
        if len(self.history) > MAX_HISTORY:
            del self.history[: MAX_HISTORY // 2]

    def require(self, condition: object, fault: str) -> None:
        """Remember the first fault of the history."""
        if not condition and self.broken is None:
            self.broken = fault
            self.note("BROKEN", fault)

    def check(self) -> None:
        """Raise BrokenLawError if a law has been broken."""
        if self.broken is not None:
            raise BrokenLawError(self.broken)

    # --- effects ----------------------------------------------------------------------------

    def effect(self, name: str) -> Owner | None:
        """An owner touches the world: it must exist, be the latest, and not be tombstoned."""
        owner = acting_owner()
        if owner is None:
            return None
        record = self.disk.rows.environments.get(owner[0])
        self.require(record is not None, f"{name} by {owner}, of which the journal knows nothing")
        if record is not None:
            self.require(
                record.incarnation == owner[1],
                f"{name} by {owner} while the journal is at incarnation {record.incarnation}",
            )
            self.require(
                record.incarnation != owner[1] or record.state is not S.TOMBSTONED,
                f"{name} by {owner}, which is tombstoned",
            )
        return owner

    def in_ready(self, name: str) -> Owner | None:
        """A watch, a status or a diff: only of an environment that has been ready."""
        owner = self.effect(name)
        self.require(owner is not None, f"{name} outside of every environment")
        if owner is not None:
            state = self.disk.rows.environments[owner[0]].state
            # Being destroyed is journalled a moment before the tasks of ready are cancelled.
            self.require(
                state in {S.READY, S.DESTROYING}, f"{name} by {owner} while it is {state}"
            )
        return owner

    def begin_stage(self, name: str, record: EnvironmentRecord) -> None:
        """A step of teardown: journalled before, alone, and after everything of ready has ended."""
        owner = (record.environment_id, record.incarnation)
        self.effect(name)
        kept = self.disk.rows.environments.get(owner[0])
        self.require(
            kept is not None and kept.incarnation == owner[1] and kept.state is S.DESTROYING,
            f"{name} of {owner} although the journal does not say that it is being destroyed",
        )
        self.require(not self.alive.get(owner), f"{name} while there is {self.alive.get(owner)}")
        self.require(
            not self.stages.get(owner), f"{name} beside {self.stages.get(owner)} of {owner}"
        )
        self.stages.setdefault(owner, []).append(name)

    def end_stage(self, name: str, record: EnvironmentRecord) -> None:
        """The step has ended, one way or another."""
        self.stages[record.environment_id, record.incarnation].remove(name)

    def removed(self, path: str, record: EnvironmentRecord) -> None:
        """The daemon takes the files at ``path`` away."""
        place = self.disk.files.places.get(path)
        if place is None:
            return
        owner = (record.environment_id, record.incarnation)
        self.require(place.managed, f"the unmanaged {path} was removed by {owner}")
        self.require(
            record.environment_id in self.ordered or place.maker == owner,
            f"{path} was removed by {owner} though nobody ordered it and it was made by "
            f"{place.maker}",
        )
        self.require(
            not self.processes(owner), f"{path} was removed under {self.processes(owner)}"
        )
        self.require(
            record.cause is not TeardownCause.DESTROY
            or not place.worktree
            or owner in self.disk.files.rescued,
            f"{path} was removed by {owner}, and its work was not rescued",
        )

    # --- the journal ------------------------------------------------------------------------

    def asked_to_save(self, record: EnvironmentRecord) -> None:
        """A decision has been made: it must be right by what is known now."""
        before = self.disk.rows.environments.get(record.environment_id)
        owner = (record.environment_id, record.incarnation)
        if (
            before is not None
            and record.incarnation > before.incarnation
            and not only_tried(before)
        ):
            self._lift_allowed(record)
        if (
            record.state is S.DESTROYING
            and record.cause is TeardownCause.RETIRE
            and before is not None
            and before.state is S.READY
        ):
            # A list may come while the order of the one before is in the owner's mailbox.
            overtaken = self.unwanted_before and len(self.history) - self.listed_at <= MAILBOX
            self.require(
                self.is_unwanted(owner[0]) or (overtaken and owner[0] in self.unwanted_before),
                f"{owner} is retired, and nobody said so",
            )
            self.require(not self.busy.get(owner), f"{owner} is retired at work")

    def saved(self, before: EnvironmentRecord | None, record: EnvironmentRecord) -> None:
        """A record has become durable."""
        key = record.environment_id
        owner = (key, record.incarnation)
        label = f"{key}.{record.incarnation} {record.state}"
        if before is None:
            self.require(record.incarnation == 1, f"{label}: the first incarnation")
            self._first_allowed(record)
        elif record.incarnation == before.incarnation:
            self.require((before.state, record.state) in _STEPS, f"{before.state} became {label}")
        else:
            self.require(
                record.incarnation == before.incarnation + 1 and before.state is S.TOMBSTONED,
                f"{label} after {before.incarnation} {before.state}",
            )
            if only_tried(before):
                self._first_allowed(record)
        self.require(
            (record.cause is None) == (record.state in {S.PROVISIONING, S.READY}),
            f"{label} has the cause {record.cause}",
        )
        if record.state is S.TOMBSTONED:
            self.require(not self.alive.get(owner), f"{label} while {self.alive.get(owner)}")
            self.require(not self.processes(owner), f"{label} while {self.processes(owner)}")
            if before is None or before.state is not S.TOMBSTONED:
                self._check_gone(record, label)
        self.consistent()

    def forgotten(self, record: EnvironmentRecord) -> None:
        """A tombstone is gone; the id begins anew. Only where a late command can bring nothing back."""
        key = record.environment_id
        label = f"the tombstone of {key} was forgotten"
        self.require(record.state is S.TOMBSTONED, f"{label}, and it is {record.state}")
        self.require(record.cause is not TeardownCause.RETIRE, f"{label}, and it was retired")
        self.require(
            record.path not in self.disk.files.places, f"{label}, and its files are there"
        )
        self.ordered.pop(key, None)
        self.forgotten_ids[key] = None
        for owner in [owner for owner in self.disk.files.rescued if owner[0] == key]:
            self.disk.change(lambda files, owner=owner: files.rescued.pop(owner, None))
        self.consistent()

    def _first_allowed(self, record: EnvironmentRecord) -> None:
        self.require(
            trio.lowlevel.current_task() not in self.excluded,
            f"{record.environment_id} was attached although the server excludes it",
        )

    def _lift_allowed(self, record: EnvironmentRecord) -> None:
        chain = chain_of(trio.lowlevel.current_task())
        key = record.environment_id
        if "command environment.provision" in chain:
            return
        self.require("reconciler" in chain, f"the tombstone of {key} was lifted by {chain}")
        self.require(
            self.live is not None
            and (key in self.live or self.welcomed.get(key) == self.lists)
            and (key not in self.retired or self.welcomed.get(key) == self.lists),
            f"the tombstone of {key} was lifted, and the server did not say that it lives",
        )
        self.require(
            key not in self.dismissed or self.welcomed.get(key) == self.lists,
            f"the tombstone of {key} was lifted by a list from before",
        )

    def take_lists(
        self, live: Iterable[EnvironmentId] | None, retired: Iterable[EnvironmentId]
    ) -> None:
        """The server has said who lives (None: it has not said)."""
        self.unwanted_before = {
            key: None for key in self.disk.rows.environments if self.is_unwanted(key)
        }
        self.listed_at = len(self.history)
        self.lists += 1
        self.live = None if live is None else dict.fromkeys(live)
        self.retired = dict.fromkeys(retired)

    def is_unwanted(self, key: EnvironmentId) -> bool:
        return key in self.retired or (self.live is not None and key not in self.live)

    def _check_gone(self, record: EnvironmentRecord, label: str) -> None:
        files = self.disk.files
        managed = record.kind is not WorkspaceKind.UNMANAGED
        if not managed or record.cause is not TeardownCause.DESTROY:
            return
        if record.path in files.foreign:
            return
        self.require(record.path not in files.places, f"{label}, but {record.path} is there")
        self.require(
            record.path not in files.registered, f"{label}, but {record.path} is registered"
        )

    # --- what a crash would find ---------------------------------------------------------------

    def consistent(self) -> None:
        """If the daemon were killed now, the next one would know what to do with everything."""
        rows, files = self.disk.rows, self.disk.files
        for path, place in files.places.items():
            if place.maker is None or path in files.foreign:
                continue
            record = rows.environments.get(place.maker[0])
            self.require(record is not None, f"{path} is on disk and in no record")
            if record is not None and not place.whole:
                self.require(
                    record.created_workspace and record.state in {S.PROVISIONING, S.DESTROYING},
                    f"{path} is half made, and its record says {record.state}",
                )
        for record in rows.environments.values():
            if record.state is S.READY:
                self._check_there(record, files)

    def _check_there(self, record: EnvironmentRecord, files: Files) -> None:
        path = record.path
        if path in files.foreign:
            return
        place = files.places.get(path)
        label = f"{record.environment_id}.{record.incarnation} is ready"
        self.require(place is not None and place.whole, f"{label}, and {path} is not whole")
        if place is not None and place.worktree:
            self.require(path in files.registered, f"{label}, and {path} is not registered")

    def note_excluded(self, key: EnvironmentId) -> None:
        """The present task serves a command on an id that the server does not want."""
        known = self.disk.rows.environments.get(key)
        # Whom the server has ordered to be provisioned since its list came it wants, also if that failed.
        wanted = not self.is_unwanted(key) or self.welcomed.get(key) == self.lists
        if not wanted and (known is None or only_tried(known)):
            self.excluded.add(trio.lowlevel.current_task())

    def untouched(self) -> None:
        """Unmanaged places hold what their users wrote."""
        for path, written in self.disk.files.written.items():
            place = self.disk.files.places.get(path)
            if path not in self.disk.files.foreign:
                self.require(
                    place is not None and place.content == written,
                    f"{path} should hold {written} and holds {place}",
                )

    # --- what the server is told ----------------------------------------------------------------

    def settled(self, entry: InboxEntry, report_json: str) -> None:
        """A result has become durable: it must be true of the disk."""
        report: dict[str, Any] = json.loads(report_json)
        command = json.loads(entry.payload_json)["command"]
        key = EnvironmentId(command["environmentId"])
        record = self.disk.rows.environments.get(key)
        if not report["ok"]:
            self.require(
                command["type"] != "environment.provision"
                or report["errorCode"] != "environment_destroyed"
                or record is None
                or record.state is not S.READY,
                f"the server was told that {key} was destroyed, and it is ready",
            )
            self.note("failed", f"{command['type']} {key}: {report.get('errorMessage')}")
            return
        self.note("succeeded", f"{command['type']} {key}")
        # A list that came while the command ran is newer than the command.
        heard_of = self.began.get(entry.command_id) == self.lists
        match command["type"]:
            case "environment.destroy":
                if heard_of:
                    self.dismissed[key] = None
                forgotten = record is None and key in self.forgotten_ids
                self.require(
                    forgotten or (record is not None and record.state is S.TOMBSTONED),
                    f"the server was told that {key} is destroyed, and it is "
                    f"{record and record.state}",
                )
                # One that had been retired keeps its files until they are swept (files_remain).
                if record is not None and not record.files_remain:
                    self._check_gone(record, f"{key}: told as destroyed")
            case "environment.provision":
                if heard_of:
                    self.retired.pop(key, None)
                    self.dismissed.pop(key, None)
                    if self.live is not None:
                        self.live[key] = None
                path = report["result"]["path"]
                place = self.disk.files.places.get(path)
                self.require(
                    path in self.disk.files.foreign or (place is not None and place.whole),
                    f"the server was told that {key} is provisioned, and {path} is {place}",
                )
