"""Who exists: the table of incarnations, and the only door through which a new one comes.

Rule 1: ``_incarnate`` is the only maker of owners. It is reached from ``provision`` (the server asks
for the environment by name), from ``restore`` (the journal says it was live), from ``lift`` (the
reconciler: the server lists a tombstoned id as live), and from ``_attach`` for an id of which no
record of any kind exists. No command on a tombstoned id can reach it.

Rule 2: a refused command touches nothing: no git, no watch, no directory, no task.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import trio
from attrs import define, evolve, field

from bbhost.domain.environment import EnvironmentRecord, EnvironmentState, TeardownCause
from bbhost.domain.ids import EnvironmentId, Incarnation
from bbhost.domain.workspace import (
    AttachSpec,
    UnmanagedSpec,
    WorkspaceContext,
    WorkspaceKind,
    WorkspaceSpec,
    workspace_path,
)
from bbhost.environment.actor import EnvironmentActor, EnvironmentView, Provisioned
from bbhost.environment.handle import ReadyHandle
from bbhost.environment.ports import EntrySink, EnvironmentServices, OwnedBoundary
from bbhost.environment.status_cache import StatusCacheStatistics
from bbhost.errors import (
    BbhostError,
    EnvironmentBusyError,
    EnvironmentDestroyedError,
    PathNotFoundError,
)
from bbhost.lifecycle.environment import EnvironmentEvent
from bbhost.toolkit.keyed_locks import KeyedLocks

log = logging.getLogger(__name__)

WAIT_READY_SECONDS = 120.0
"""How long a command waits for a provisioning environment before it is told to try again."""
LEAVING_SECONDS = 1.0
"""For an environment that is about to be torn down to say so, before it is asked again."""
LEAVING_LOOKS = 30
"""Times that it is asked; then the refusal is the answer."""
OWNER_RESTARTS = 5
"""Unexpected crashes of one owner after which it is left alone until the daemon restarts."""


@define(eq=False)
class SessionKnowledge:
    """What the last session-open said about who is wanted. None means: it did not say."""

    live: frozenset[EnvironmentId] | None = None
    retired: frozenset[EnvironmentId] = field(factory=frozenset)

    def excludes(self, environment_id: EnvironmentId) -> bool:
        """Whether the server has said that it does not want this id."""
        if environment_id in self.retired:
            return True
        return self.live is not None and environment_id not in self.live


class Supervisor:
    """Owns the owners. Run it in a nursery with ``await nursery.start(supervisor.run)``."""

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
        self.knowledge = SessionKnowledge()

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

    # --- commands -------------------------------------------------------------------------

    async def provision(
        self,
        environment_id: EnvironmentId,
        spec: WorkspaceSpec,
        on_entry: EntrySink | None = None,
    ) -> Provisioned:
        """Serve ``environment.provision`` in every state (design 1.2).

        Returns:
            What is there. The transcript is empty where nothing had to be made.

        Raises:
            EnvironmentBusyError: another specification is being provisioned.
            BbhostError: provisioning failed; it has been rolled back.

        Cancellation: provisioning goes on under its owner; only the waiting ends.
        """
        refusals = 0
        while True:
            async with self._locks.hold(environment_id):
                actor = self._revived(environment_id)
                if actor is None:
                    actor = await self._incarnate(self._first_record(environment_id, spec))
                    fresh = True
                else:
                    fresh = False
            record = actor.record
            match record.state:
                case EnvironmentState.DESTROYING | EnvironmentState.TOMBSTONED if not fresh:
                    await self._wait_left(actor)
                    continue
                case EnvironmentState.READY if not fresh:
                    try:
                        return await self._provision_again(actor, spec, on_entry)
                    except EnvironmentDestroyedError:
                        # It is leaving: what follows is a new incarnation, not a failure.
                        refusals += 1
                        if refusals > LEAVING_LOOKS:
                            raise
                    with trio.move_on_after(LEAVING_SECONDS):
                        await actor.view.wait_value(
                            lambda view: view.state is not EnvironmentState.READY
                        )
                case EnvironmentState.PROVISIONING if (
                    actor.durable.state is EnvironmentState.READY
                    or (isinstance(record.spec, AttachSpec) and record.spec != spec)
                ):
                    # Restored, made or taken over: nothing is being made that could contradict.
                    await self._wait_view(
                        actor, lambda view: view.state is not EnvironmentState.PROVISIONING
                    )
                    continue
                case _:
                    if record.spec != spec:
                        raise EnvironmentBusyError(
                            f"Environment {environment_id} is being provisioned with another "
                            "specification; wait until that has ended"
                        )
                    return await self._wait_provisioned(actor, on_entry)

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

    async def _wait_provisioned(
        self, actor: EnvironmentActor, on_entry: EntrySink | None
    ) -> Provisioned:
        if on_entry is not None:
            for entry in actor.progress.entries:
                on_entry(entry)
            actor.progress.listeners.append(on_entry)
        try:
            view = await self._wait_view(
                actor,
                lambda view: (
                    view.provisioned is not None
                    or view.state in {EnvironmentState.READY, EnvironmentState.TOMBSTONED}
                    or view.teardown_trouble is not None
                ),
            )
        finally:
            if on_entry is not None:
                actor.progress.listeners.remove(on_entry)
        if view.provisioned is not None and view.state is EnvironmentState.READY:
            return view.provisioned
        if view.provision_error is not None:
            raise view.provision_error
        raise EnvironmentDestroyedError(
            f"Environment {view.record.environment_id} was destroyed while it was provisioned"
        )

    async def _provision_again(
        self, actor: EnvironmentActor, spec: WorkspaceSpec, on_entry: EntrySink | None
    ) -> Provisioned:
        """A ready environment: nothing is made; an unmanaged checkout is applied again."""
        record = actor.record
        if workspace_path(spec) != record.path:
            raise BbhostError(
                f"Environment {record.environment_id} is loaded at {record.path}, "
                f"not at {workspace_path(spec)}"
            )
        stay, work = actor.stay, actor.ready_work
        if stay is None or work is None:
            raise EnvironmentDestroyedError(
                f"Environment {record.environment_id} is being destroyed"
            )
        work.ask_to_watch()
        workspaces = self._services.workspaces
        if isinstance(spec, UnmanagedSpec) and spec.checkout is not None:
            sink = on_entry or (lambda _entry: None)
            await stay.call(workspaces.switch_checkout, record.path, spec.checkout, sink)
            work.note_everything_changed()
        discovered = await stay.call(workspaces.discover, record.path, record.kind)
        return Provisioned(discovered, ())

    async def destroy(self, environment_id: EnvironmentId, context: WorkspaceContext) -> None:
        """Serve ``environment.destroy`` in every state; returns when it is tombstoned.

        Raises:
            BbhostError: teardown failed; the environment is ready again, or goes on trying.

        Cancellation: teardown goes on under its owner; only the waiting ends.
        """
        async with self._locks.hold(environment_id):
            actor = self._revived(environment_id)
            if actor is None:
                if environment_id in self._records:
                    await self._note_destroyed(self._records[environment_id], context)
                    return
                actor = await self._destroy_unknown(environment_id, context)
                if actor is None:
                    return
        # Refused means: it is being torn down already, or has just ended. Both are joined below.
        await actor.ask(EnvironmentEvent.DESTROY)
        record = await self._wait_torn_down(actor)
        if record.cause is TeardownCause.RETIRE:
            await self._give_free(record, context)

    async def cut_short(self, environment_id: EnvironmentId) -> None:
        """The order to destroy has come while the environment is being made: stop making it.

        Does nothing in any other state: what runs on a ready environment is finished first.

        Raises:
            BbhostError: the order could not be journalled.
        """
        actor = self.actor(environment_id)
        if (
            actor is not None
            and actor.durable.state is EnvironmentState.PROVISIONING
            and not isinstance(actor.record.spec, AttachSpec)
        ):
            await actor.ask(EnvironmentEvent.DESTROY)

    async def _give_free(self, retired: EnvironmentRecord, context: WorkspaceContext) -> None:
        """It was being retired when the order came: the order is remembered all the same."""
        async with self._locks.hold(retired.environment_id):
            # With an owner it is a new incarnation already, of which nobody has ordered anything.
            if self.actor(retired.environment_id) is None:
                record = self._records[retired.environment_id]
                if record.incarnation == retired.incarnation:
                    await self._note_destroyed(record, context)

    async def _note_destroyed(self, record: EnvironmentRecord, context: WorkspaceContext) -> None:
        """Nothing is touched, but a retired environment's files need not stay any longer.

        Retiring keeps files because absence from a list is not an order to delete. This is that order;
        the tombstone remembers it, and the sweep at start or ``bbhost gc`` acts upon it.
        """
        if (
            record.cause is not TeardownCause.RETIRE
            or record.kind is WorkspaceKind.UNMANAGED
            or record.kind is not context.workspace_provision_type
            or record.path != context.workspace_path
        ):
            return
        record = evolve(
            record,
            cause=TeardownCause.DESTROY,
            changed_at=self._services.now_ms(),
            detail="destroyed by the server after it had been retired",
        )
        await self._services.journal.save_environment(record)
        self._records[record.environment_id] = record

    @asynccontextmanager
    async def hold(self, environment_id: EnvironmentId) -> AsyncIterator[None]:
        """Keep an id from being given a new incarnation while the context is open."""
        async with self._locks.hold(environment_id):
            yield

    async def _destroy_unknown(
        self, environment_id: EnvironmentId, context: WorkspaceContext
    ) -> EnvironmentActor | None:
        """An id without a record: made by an earlier daemon, or never here. Its files still go."""
        spec = AttachSpec(context.workspace_path, context.workspace_provision_type)
        managed = context.workspace_provision_type is not WorkspaceKind.UNMANAGED
        there = managed and await self._services.workspaces.exists(context.workspace_path)
        record = EnvironmentRecord(
            environment_id=environment_id,
            incarnation=Incarnation(1),
            state=EnvironmentState.DESTROYING if there else EnvironmentState.TOMBSTONED,
            spec=spec,
            changed_at=self._services.now_ms(),
            cause=TeardownCause.DESTROY,
            detail="destroyed without having been loaded here",
        )
        if there:
            return await self._incarnate(record)
        await self._services.journal.save_environment(record)
        self._records[environment_id] = record
        return None

    async def enter(self, environment_id: EnvironmentId, context: WorkspaceContext) -> ReadyHandle:
        """Give a handle on a ready environment, for workspace commands, terminals and threads.

        Raises:
            EnvironmentDestroyedError: destroying, tombstoned, or excluded by the server.
            PathNotFoundError: an id never seen whose directory does not exist.
            EnvironmentBusyError: still provisioning after ``WAIT_READY_SECONDS``.
        """
        actor = self.actor(environment_id)
        if actor is None:
            self._refuse_if_recorded(environment_id)
            actor = await self._attach(environment_id, context)
        return await self._wait_handle(actor)

    def _refuse_if_recorded(self, environment_id: EnvironmentId) -> None:
        """An id without an owner, of which there is a record, is not attached by a command."""
        record = self._records.get(environment_id)
        if record is None:
            return
        if record.state is EnvironmentState.TOMBSTONED:
            raise EnvironmentDestroyedError(f"Environment {environment_id} has been destroyed")
        raise _recovers(environment_id)

    def entered(self, environment_id: EnvironmentId) -> ReadyHandle | None:
        """Give a handle if the environment is ready now; never attaches, never waits."""
        actor = self.actor(environment_id)
        return None if actor is None else self._handle(actor)

    async def _wait_handle(self, actor: EnvironmentActor) -> ReadyHandle:
        environment_id = actor.record.environment_id
        with trio.move_on_after(WAIT_READY_SECONDS):
            view = await self._wait_view(
                actor, lambda view: view.state is not EnvironmentState.PROVISIONING
            )
            if view.state is EnvironmentState.READY:
                handle = self._handle(actor)
                if handle is not None:
                    return handle
            if view.provision_error is not None:
                raise view.provision_error
            raise EnvironmentDestroyedError(f"Environment {environment_id} is being destroyed")
        raise EnvironmentBusyError(
            f"Environment {environment_id} is still being provisioned; try again later"
        )

    def _handle(self, actor: EnvironmentActor) -> ReadyHandle | None:
        if actor.stay is None or actor.ready_work is None or actor.stay.is_closing:
            return None
        return ReadyHandle(
            actor.record, actor.stay, actor.ready_work, actor.boundary, self._services.workspaces
        )

    async def _attach(
        self, environment_id: EnvironmentId, context: WorkspaceContext
    ) -> EnvironmentActor:
        if self.knowledge.excludes(environment_id):
            raise EnvironmentDestroyedError(
                f"The server does not list environment {environment_id}; it is not attached"
            )
        if not await self._services.workspaces.exists(context.workspace_path):
            raise PathNotFoundError(f"Workspace path does not exist: {context.workspace_path}")
        spec = AttachSpec(context.workspace_path, context.workspace_provision_type)
        async with self._locks.hold(environment_id):
            actor = self.actor(environment_id)
            if actor is not None:
                return actor
            self._refuse_if_recorded(environment_id)
            return await self._incarnate(self._first_record(environment_id, spec))

    # --- the reconciler's verbs ------------------------------------------------------------

    async def retire(self, environment_id: EnvironmentId) -> bool:
        """Release an environment that the server no longer lists; its files stay.

        Returns:
            False when it is busy, not ready, or has no owner.

        Raises:
            BbhostError: it was accepted and could not be done; it is ready again, or goes on trying.
        """
        actor = self.actor(environment_id)
        if actor is None or not await actor.ask(EnvironmentEvent.RETIRE):
            return False
        await self._wait_torn_down(actor)
        return True

    async def lift(
        self, environment_id: EnvironmentId, still_wanted: Callable[[], bool] = lambda: True
    ) -> EnvironmentRecord:
        """Make a new incarnation of a tombstoned environment that the server lists as live.

        Args:
            still_wanted: asked when it is our turn; a destroy that came first may have been answered.

        Returns:
            The record as it stands afterwards: ready, or a tombstone again with the reason.
        """
        async with self._locks.hold(environment_id):
            record = self._records.get(environment_id)
            actor = self._revived(environment_id)
            if actor is None and record is not None:
                if not still_wanted():
                    return record
                spec = AttachSpec(record.path, record.kind)
                if not await self._services.workspaces.exists(record.path):
                    reason = f"the server lists it as live, but {record.path} does not exist"
                    kept = evolve(record, detail=reason, files_remain=False)
                    await self._services.journal.save_environment(kept)
                    self._records[environment_id] = kept
                    return kept
                actor = await self._incarnate(self._first_record(environment_id, spec))
        if actor is None:
            raise EnvironmentDestroyedError(f"Environment {environment_id} is not known here")
        view = await self._wait_view(
            actor, lambda view: view.state is not EnvironmentState.PROVISIONING
        )
        return view.record

    async def _wait_left(self, actor: EnvironmentActor) -> None:
        """Wait until a teardown has ended, either way; raise what keeps it from ending."""
        view = await self._wait_view(
            actor,
            lambda view: (
                view.state is not EnvironmentState.DESTROYING or view.teardown_trouble is not None
            ),
        )
        await trio.lowlevel.checkpoint()
        if view.state is EnvironmentState.DESTROYING and view.teardown_trouble is not None:
            raise view.teardown_trouble

    async def _wait_torn_down(self, actor: EnvironmentActor) -> EnvironmentRecord:
        """Wait for the tombstone, but not for ever: a teardown may fail, or go on failing.

        Returns:
            The tombstone.

        Raises:
            BbhostError: why it failed.
        """
        view = await self._wait_view(
            actor,
            lambda view: (
                view.state in {EnvironmentState.TOMBSTONED, EnvironmentState.READY}
                or view.teardown_trouble is not None
            ),
        )
        if view.state is not EnvironmentState.TOMBSTONED:
            raise view.teardown_trouble or BbhostError(
                f"Environment {view.record.environment_id} could not be destroyed"
            )
        return view.record

    async def _wait_view(
        self, actor: EnvironmentActor, condition: Callable[[EnvironmentView], bool]
    ) -> EnvironmentView:
        """Wait until ``condition`` holds.

        Raises:
            EnvironmentBusyError: the owner crashed first.
        """
        view = await actor.view.wait_value(lambda view: view.is_abandoned or condition(view))
        if not condition(view):
            raise _recovers(view.record.environment_id)
        return view


def _recovers(environment_id: EnvironmentId) -> EnvironmentBusyError:
    return EnvironmentBusyError(
        f"Environment {environment_id} recovers from an internal error; try again later"
    )
