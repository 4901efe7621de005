"""The table of incarnations: one record for each id, and one task for each that is alive.

An owner is started here and nowhere else, is restarted here when it crashes, and leaves its record
behind when it ends. What may lead to a new incarnation is ``supervisor.py``'s to decide.
"""

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import trio
from attrs import evolve

from bbhost.domain.environment import EnvironmentRecord, EnvironmentState, TeardownCause
from bbhost.domain.ids import EnvironmentId, Incarnation
from bbhost.domain.workspace import WorkspaceSpec
from bbhost.environment.actor import EnvironmentActor, EnvironmentView
from bbhost.environment.ports import EnvironmentServices, OwnedBoundary
from bbhost.environment.status_cache import StatusCacheStatistics
from bbhost.errors import BbhostError
from bbhost.toolkit.keyed_locks import KeyedLocks

log = logging.getLogger(__name__)

OWNER_RESTARTS = 5
"""Unexpected crashes of one owner after which it is left alone until the daemon restarts."""


class Owners:
    """Owns the owners. Run it in a nursery with ``await nursery.start(owners.run)``."""

    def __init__(self, services: EnvironmentServices) -> None:
        self._services = services
        self._records: dict[EnvironmentId, EnvironmentRecord] = {}
        self._actors: dict[EnvironmentId, EnvironmentActor] = {}
        self._locks = KeyedLocks()
        self._owners: trio.Nursery | None = None
        self._crashes: dict[EnvironmentId, int] = {}
        self._left_boundaries: dict[EnvironmentId, OwnedBoundary] = {}
        """Of owners that crashed: the next one goes on with what runs in them."""
        self.cache_statistics = StatusCacheStatistics()

    # --- looking --------------------------------------------------------------------------

    def records(self) -> list[EnvironmentRecord]:
        """Every environment known, tombstones included, one record per id."""
        live = {key: actor.record for key, actor in self._actors.items()}
        return list((self._records | live).values())

    def view(self, environment_id: EnvironmentId) -> EnvironmentView | None:
        """One environment as it stands, None for an id without any record."""
        actor = self.actor(environment_id)
        if actor is not None:
            return actor.view.value
        record = self._records.get(environment_id)
        return None if record is None else EnvironmentView(record)

    def actor(self, environment_id: EnvironmentId) -> EnvironmentActor | None:
        """The owner of a live environment; None once it is tombstoned."""
        actor = self._actors.get(environment_id)
        if actor is not None and actor.record.state is EnvironmentState.TOMBSTONED:
            # Its task is about to end; what counts from here on is the record.
            self._records[environment_id] = actor.record
            return None
        return actor

    def live_ids(self) -> list[EnvironmentId]:
        """Ids that have an owner."""
        return [
            key
            for key, actor in self._actors.items()
            if actor.record.state is not EnvironmentState.TOMBSTONED
        ]

    # --- running --------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep owners alive until cancelled. Cancellation: their states stay in the journal."""
        async with trio.open_nursery() as owners:
            self._owners = owners
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._owners = None

    async def restore(self, records: Iterable[EnvironmentRecord]) -> None:
        """Rebuild owners from the journal. What was begun is finished by the owners themselves."""
        for record in records:
            self._records[record.environment_id] = record
            match record.state:
                case EnvironmentState.TOMBSTONED:
                    continue
                case EnvironmentState.PROVISIONING:
                    # Cut short by the end of the last daemon: undo what it made.
                    undo = evolve(
                        record,
                        state=EnvironmentState.DESTROYING,
                        cause=TeardownCause.ROLLBACK,
                        detail="provisioning was interrupted by the end of the daemon",
                    )
                    await self._incarnate(undo)
                case EnvironmentState.READY | EnvironmentState.DESTROYING:
                    self._start_owner(record)

    async def _incarnate(self, record: EnvironmentRecord) -> EnvironmentActor:
        await self._services.journal.save_environment(record)
        self._records[record.environment_id] = record
        return self._start_owner(record)

    def _start_owner(self, record: EnvironmentRecord) -> EnvironmentActor:
        if self._owners is None:
            raise BbhostError("The daemon is stopping")
        boundary = self._left_boundaries.pop(record.environment_id, None)
        actor = EnvironmentActor(record, self._services, self.cache_statistics, boundary)
        self._actors[record.environment_id] = actor
        self._owners.start_soon(
            self._run_owner,
            actor,
            name=f"environment {record.environment_id}.{record.incarnation}",
        )
        return actor

    async def _run_owner(self, actor: EnvironmentActor) -> None:
        """The bulkhead: a defect in one environment must not end the others."""
        environment_id = actor.record.environment_id
        try:
            await actor.run()
        except Exception:
            # Also catches groups: the nurseries inside raise groups of ordinary exceptions.
            log.exception("owner of an environment crashed", extra={"environment": environment_id})
        finally:
            # A new incarnation may be here before the task of the old one has quite ended.
            if self._actors.get(environment_id) is actor:
                del self._actors[environment_id]
                self._records[environment_id] = actor.durable
        record = actor.durable
        if record.state is EnvironmentState.TOMBSTONED:
            return
        self._left_boundaries[environment_id] = actor.boundary
        actor.abandon()
        crashes = self._crashes.get(environment_id, 0) + 1
        self._crashes[environment_id] = crashes
        if crashes > OWNER_RESTARTS:
            log.error(
                "owner crashed %d times and is left alone until the daemon restarts",
                crashes,
                extra={"environment": environment_id},
            )
            return
        await trio.sleep(min(2.0**crashes, 60.0))
        # An order that came meanwhile has started one already, and may have ended it too.
        if environment_id not in self._actors and self._records[environment_id] is record:
            self._start_owner(record)

    def _revived(self, environment_id: EnvironmentId) -> EnvironmentActor | None:
        """The owner; one that crashed and waits to be started again is started now.

        Returns:
            None for an id without a record and for a tombstone: nothing else is without an owner
            when the server orders something of it.
        """
        actor = self.actor(environment_id)
        record = self._records.get(environment_id)
        if actor is not None or record is None or record.state is EnvironmentState.TOMBSTONED:
            return actor
        return self._start_owner(record)

    @asynccontextmanager
    async def hold(self, environment_id: EnvironmentId) -> AsyncIterator[None]:
        """Keep an id from being given a new incarnation while the context is open."""
        async with self._locks.hold(environment_id):
            yield

    async def forget(self, environment_id: EnvironmentId) -> bool:
        """Drop a spent tombstone whose workspace is gone: the id is then as one that was never here.

        Returns:
            False where there is no such tombstone, or something at its path; then nothing was done.

        Raises:
            JournalError: it could not be written; the tombstone stays.
        """
        async with self._locks.hold(environment_id):
            record = self._records.get(environment_id)
            if record is None or not record.is_spent or environment_id in self._actors:
                return False
            if await self._services.workspaces.exists(record.path):
                return False
            await self._services.journal.forget_environment(environment_id)
            del self._records[environment_id]
            self._crashes.pop(environment_id, None)
            return True

    def _first_record(
        self, environment_id: EnvironmentId, spec: WorkspaceSpec
    ) -> EnvironmentRecord:
        last = self._records.get(environment_id)
        return EnvironmentRecord(
            environment_id=environment_id,
            incarnation=Incarnation(last.incarnation + 1 if last is not None else 1),
            state=EnvironmentState.PROVISIONING,
            spec=spec,
            changed_at=self._services.now_ms(),
        )
