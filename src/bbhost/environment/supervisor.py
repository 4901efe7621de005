"""Who may come into being, and who goes: the only doors through which an incarnation comes.

Rule 1: ``_incarnate`` is the only maker of owners. It is reached from ``provision`` (the server asks
for the environment by name), from ``restore`` (the journal says it was live), from ``lift`` (the
reconciler: the server lists a tombstoned id as live), and from ``_attach`` for an id of which there
is no record, or only that an attach failed. No command on any other tombstoned id can reach it.

Rule 2: a refused command touches nothing: no git, no watch, no directory, no task.
"""

from collections.abc import Callable

import trio
from attrs import evolve

from bbhost.domain.environment import EnvironmentRecord, EnvironmentState, TeardownCause
from bbhost.domain.ids import EnvironmentId
from bbhost.domain.workspace import (
    AttachSpec,
    UnmanagedSpec,
    WorkspaceContext,
    WorkspaceKind,
    WorkspaceSpec,
    workspace_path,
)
from bbhost.environment.actor import EnvironmentActor, Provisioned
from bbhost.environment.handle import ReadyHandle
from bbhost.environment.owners import Owners
from bbhost.environment.ports import EntrySink, EnvironmentServices
from bbhost.environment.session_knowledge import SessionKnowledge
from bbhost.environment.waiting import (
    recovers,
    wait_left,
    wait_provisioned,
    wait_torn_down,
    wait_view,
)
from bbhost.errors import (
    BbhostError,
    EnvironmentBusyError,
    EnvironmentDestroyedError,
    PathNotFoundError,
)
from bbhost.lifecycle.environment import EnvironmentEvent

WAIT_READY_SECONDS = 120.0
"""How long a command waits for a provisioning environment before it is told to try again."""
LEAVING_SECONDS = 1.0
"""For an environment that is about to be torn down to say so, before it is asked again."""
LEAVING_LOOKS = 30
"""Times that it is asked; then the answer is to try again later."""


class Supervisor(Owners):
    """What commands, and the reconciler, lead to. Run it with ``await nursery.start(supervisor.run)``."""

    def __init__(self, services: EnvironmentServices) -> None:
        super().__init__(services)
        self.knowledge = SessionKnowledge()

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
            EnvironmentBusyError: another specification is being provisioned, or a teardown has been
                decided upon and does not begin.
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
                    await wait_left(actor)
                    continue
                case EnvironmentState.READY if not fresh:
                    try:
                        return await self._provision_again(actor, spec, on_entry)
                    except EnvironmentDestroyedError as error:
                        # It is leaving: what follows is a new incarnation, not a failure.
                        refusals += 1
                        if refusals > LEAVING_LOOKS:
                            # The decision is still being written, and may yet fail to be.
                            raise EnvironmentBusyError(
                                f"Environment {environment_id} is about to be torn down; "
                                "try again later"
                            ) from error
                    with trio.move_on_after(LEAVING_SECONDS):
                        await actor.view.wait_value(
                            lambda view: view.state is not EnvironmentState.READY
                        )
                case EnvironmentState.PROVISIONING if (
                    actor.durable.state is EnvironmentState.READY
                    or (isinstance(record.spec, AttachSpec) and record.spec != spec)
                ):
                    # Restored, made or taken over: nothing is being made that could contradict.
                    await wait_view(
                        actor, lambda view: view.state is not EnvironmentState.PROVISIONING
                    )
                    continue
                case _:
                    if record.spec != spec:
                        raise EnvironmentBusyError(
                            f"Environment {environment_id} is being provisioned with another "
                            "specification; wait until that has ended"
                        )
                    return await wait_provisioned(actor, on_entry)

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
        while True:
            async with self._locks.hold(environment_id):
                actor = self._revived(environment_id)
                if actor is None:
                    known = self._records.get(environment_id)
                    if known is not None and not _only_tried(known):
                        await self._note_destroyed(known, context)
                        return
                    actor = await self._destroy_unknown(environment_id, context)
                    if actor is None:
                        return
            # Refused means: it is being torn down already, or has just ended. Both are joined below.
            await actor.ask(EnvironmentEvent.DESTROY)
            record = await wait_torn_down(actor)
            if not _only_tried(record):
                break
            # An attach that was under way failed first: of that nothing is left but the order.
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

    async def _destroy_unknown(
        self, environment_id: EnvironmentId, context: WorkspaceContext
    ) -> EnvironmentActor | None:
        """An id nobody has here: made by an earlier daemon, or never here. Its files still go."""
        spec = AttachSpec(context.workspace_path, context.workspace_provision_type)
        managed = context.workspace_provision_type is not WorkspaceKind.UNMANAGED
        there = managed and await self._services.workspaces.exists(context.workspace_path)
        record = evolve(
            self._first_record(environment_id, spec),
            state=EnvironmentState.DESTROYING if there else EnvironmentState.TOMBSTONED,
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
            PathNotFoundError: an id that nobody has, whose directory does not exist.
            EnvironmentBusyError: still provisioning after ``WAIT_READY_SECONDS``.
        """
        actor = self.actor(environment_id)
        if actor is None:
            self._refuse_if_recorded(environment_id)
            actor = await self._attach(environment_id, context)
        return await self._wait_handle(actor)

    def _refuse_if_recorded(self, environment_id: EnvironmentId) -> None:
        """An id without an owner, of which there is a record, is not attached by a command.

        A record of an attach that failed is none: nothing was destroyed, and git may work by now.
        """
        record = self._records.get(environment_id)
        if record is None or _only_tried(record):
            return
        if record.state is EnvironmentState.TOMBSTONED:
            raise EnvironmentDestroyedError(f"Environment {environment_id} has been destroyed")
        raise recovers(environment_id)

    def entered(self, environment_id: EnvironmentId) -> ReadyHandle | None:
        """Give a handle if the environment is ready now; never attaches, never waits."""
        actor = self.actor(environment_id)
        return None if actor is None else self._handle(actor)

    async def _wait_handle(self, actor: EnvironmentActor) -> ReadyHandle:
        environment_id = actor.record.environment_id
        with trio.move_on_after(WAIT_READY_SECONDS):
            view = await wait_view(
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
        await wait_torn_down(actor)
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
        view = await wait_view(actor, lambda view: view.state is not EnvironmentState.PROVISIONING)
        return view.record


def _only_tried(record: EnvironmentRecord) -> bool:
    """Whether the record says no more than that attaching a workspace failed or was cut short."""
    return (
        record.state is EnvironmentState.TOMBSTONED
        and record.cause is TeardownCause.ROLLBACK
        and isinstance(record.spec, AttachSpec)
    )
