"""Commands about threads, in every state of a thread and of its environment.

Rule: a command on a thread that nobody has is answered, and makes nothing. Only ``thread.start``,
``turn.submit`` and ``thread.archive`` enter an environment, as workspace commands do; the others look
at what is there.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from logging import getLogger
from typing import Any

import trio
from attrs import frozen

from bbhost.agents.definitions import ProviderDefinition
from bbhost.agents.provider import AgentPlace, ModelList, TurnRequest
from bbhost.agents.registry import ProviderRegistry
from bbhost.agents.shell_environ import ShellFacts
from bbhost.contract import commands as c
from bbhost.contract import results as r
from bbhost.contract.execution import ResumeContext, StartTarget, ThreadContext, TurnTarget
from bbhost.domain.ids import EnvironmentId, ThreadId
from bbhost.environment.handle import ReadyHandle
from bbhost.environment.supervisor import Supervisor
from bbhost.environment.threads.attachments import stage_attachments
from bbhost.environment.threads.host import HostContext
from bbhost.environment.threads.interactions import Interactions
from bbhost.environment.threads.ledger import RequestLedger
from bbhost.environment.threads.mail import Submit, Submitted
from bbhost.environment.threads.mailbox import ThreadClosingError
from bbhost.environment.threads.owner import ThreadOwner
from bbhost.environment.threads.ports import ThreadPorts
from bbhost.environment.threads.requests import RequestMemory
from bbhost.environment.threads.seat import OwnerContext
from bbhost.environment.threads.settings import agent_place, thread_settings
from bbhost.errors import AgentError, BbhostError, UnknownEnvironmentError
from bbhost.processes.environ import child_environ
from bbhost.toolkit.faults import fault_point
from bbhost.toolkit.groups import first_of
from bbhost.toolkit.single_flight import SingleFlight

log = getLogger(__name__)

Handler = Callable[[Any], Awaitable[object]]
MODELS_SECONDS = 60.0
"""How long a list of models that was asked of a provider is served again."""
OWNER_ATTEMPTS = 5
"""Owners that a request may find about to end before it gives up."""


@frozen
class _Asked:
    """A ``thread.start`` or ``turn.submit``, as far as they are alike."""

    command: c.ThreadStart | c.TurnSubmit
    context: ThreadContext | ResumeContext
    target: TurnTarget
    storage_path: str | None = None


class ThreadService:
    """The threads of all environments of a daemon."""

    def __init__(
        self,
        supervisor: Supervisor,
        ports: ThreadPorts,
        registry: ProviderRegistry,
        facts: ShellFacts,
    ) -> None:
        self._supervisor = supervisor
        self._ports = ports
        self._registry = registry
        self._facts = facts
        self._owners: dict[ThreadId, ThreadOwner] = {}
        self._interactions = Interactions(ports.server)
        self._ledger = RequestLedger(ports.journal)
        self._requests = RequestMemory(self._ledger)
        self._flights: SingleFlight[ModelList] = SingleFlight()
        self._models: dict[str, tuple[float, ModelList]] = {}

    def handlers(self) -> Mapping[str, Handler]:
        """What runs each command."""
        return {
            c.ThreadStart.TYPE: self.handle_start,
            c.TurnSubmit.TYPE: self.handle_submit,
            c.ThreadStop.TYPE: self.handle_stop,
            c.ThreadRename.TYPE: self.handle_rename,
            c.ThreadArchive.TYPE: self.handle_archive,
            c.ThreadUnarchive.TYPE: self.handle_unarchive,
            c.ThreadDeleted.TYPE: self.handle_deleted,
            c.InteractiveResolve.TYPE: self.handle_resolve,
            c.ProviderList.TYPE: self.handle_provider_list,
            c.ProviderListModels.TYPE: self.handle_list_models,
        }

    def active_threads(self) -> tuple[ThreadId, ...]:
        """Threads in the middle of a turn, for the server at session open."""
        return tuple(key for key, owner in self._owners.items() if owner.is_busy)

    def threads(self) -> tuple[tuple[ThreadId, str], ...]:
        """Every thread that has an owner, with its state."""
        return tuple((key, str(owner.state)) for key, owner in self._owners.items())

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Threads live in their environments; this lasts as long as they may be asked for.

        When it has started, the end of what an earlier daemon left is on its way to the server.

        Raises:
            JournalError: what an earlier daemon left cannot be read.
        Cancellation: whoever asks from then on is refused; environments end their threads themselves.
        """
        await self._ledger.open()
        task_status.started()
        await trio.sleep_forever()

    async def stop_all(self) -> None:
        """Interrupt every turn and tell so, before the session goes. Bound it from outside."""
        async with trio.open_nursery() as stopping:
            for owner in list(self._owners.values()):
                stopping.start_soon(owner.stop)

    # --- turns --------------------------------------------------------------------------------

    async def handle_start(self, command: c.ThreadStart) -> r.ThreadStartResult:
        """``thread.start``: returns when the first turn was taken."""
        asked = _Asked(command, command.context, StartTarget(), command.thread_storage_path)
        submitted = await self._once(asked)
        return r.ThreadStartResult(submitted.provider_thread_id)

    async def handle_submit(self, command: c.TurnSubmit) -> r.TurnSubmitResult:
        """``turn.submit``: a new turn, or an addition to the one that is expected to run."""
        submitted = await self._once(_Asked(command, command.resume_context, command.target))
        return r.TurnSubmitResult("steer" if submitted.is_steer else "new-turn")

    async def _once(self, asked: _Asked) -> Submitted:
        command = asked.command
        return await self._requests.once(
            command.thread_id, command.request_id, partial(self._submit, asked)
        )

    async def _submit(self, asked: _Asked) -> Submitted:
        command, context = asked.command, asked.context
        definition = self._registry.definition(context.provider_id)
        handle = await self._supervisor.enter(command.environment_id, context.workspace_context)
        return await handle.call(self._submit_within, handle, definition, asked)

    async def _submit_within(
        self, handle: ReadyHandle, definition: ProviderDefinition, asked: _Asked
    ) -> Submitted:
        """Within the stay: leaving the environment ends this too."""
        command, storage = asked.command, self._ports.storage
        definition = await self._installed(definition)
        if asked.storage_path is not None:
            await storage.create(command.thread_id, asked.storage_path)
        inputs = await stage_attachments(
            self._ports,
            command.thread_id,
            asked.context.project_id,
            command.request_id,
            command.input,
        )
        fault_point("thread.staged")
        taken = False
        try:
            settings = await thread_settings(
                handle, command.thread_id, asked.context, command.options, storage, self._facts
            )
            request = TurnRequest(command.request_id, inputs, command.options)
            submitted = await self._hand_over(
                handle, definition, lambda: Submit(request, asked.target, settings)
            )
            taken = True
        finally:
            if not taken and inputs != command.input:
                # Shield budget: one small directory.
                with trio.move_on_after(2.0, shield=True):
                    await storage.delete_attachments(command.thread_id, command.request_id)
        return submitted

    async def _hand_over(
        self, handle: ReadyHandle, definition: ProviderDefinition, make: Callable[[], Submit]
    ) -> Submitted:
        """Give a request to the thread's owner; to the next one where it is about to end."""
        for _ in range(OWNER_ATTEMPTS):
            submit = make()
            owner = await self._owner(handle, definition, submit.settings.thread_id)
            try:
                return await owner.submit(submit)
            except ThreadClosingError:
                await owner.closed.wait()
        raise AgentError("The thread is being stopped over and over")

    async def _owner(
        self, handle: ReadyHandle, definition: ProviderDefinition, thread_id: ThreadId
    ) -> ThreadOwner:
        while (owner := self._owners.get(thread_id)) is not None:
            context = owner.context
            if owner.is_closing:
                await owner.closed.wait()
            elif context.stay is handle.stay and context.provider_id == definition.id:
                return owner
            else:
                # It moved to another environment or provider, or its environment began anew.
                await owner.stop()
        place = agent_place(handle, definition)
        host = HostContext(
            thread_id, definition.id, place.workspace, self._ports.server, self._interactions
        )
        provider = self._registry.provider(definition)
        owner = ThreadOwner(
            OwnerContext(
                thread_id, definition.id, provider, place, handle.stay, host, self._ledger
            ),
            self._owner_closed,
        )
        handle.stay.host(owner.run)
        self._owners[thread_id] = owner
        return owner

    def _owner_closed(self, owner: ThreadOwner) -> None:
        if self._owners.get(owner.thread_id) is owner:
            del self._owners[owner.thread_id]

    def _loaded(self, environment_id: EnvironmentId, thread_id: ThreadId) -> ThreadOwner | None:
        """The owner of a thread in an environment that is ready now."""
        handle = self._supervisor.entered(environment_id)
        owner = self._owners.get(thread_id)
        if handle is None or owner is None or owner.context.stay is not handle.stay:
            return None
        return owner

    # --- the rest of a thread's life ----------------------------------------------------------

    async def handle_stop(self, command: c.ThreadStop) -> r.EmptyResult:
        """``thread.stop``."""
        if self._supervisor.entered(command.environment_id) is None:
            raise UnknownEnvironmentError(
                f"Environment {command.environment_id} is not loaded on this host"
            )
        owner = self._loaded(command.environment_id, command.thread_id)
        if owner is not None:
            await owner.stop()
        await self._ports.server.flush()
        return r.EmptyResult()

    async def handle_rename(self, command: c.ThreadRename) -> r.EmptyResult:
        """``thread.rename``: nothing where the thread is not loaded."""
        owner = self._loaded(command.environment_id, command.thread_id)
        if owner is not None:
            try:
                await owner.rename(command.title)
            except ThreadClosingError:
                log.debug("thread %s ends before its new name", command.thread_id)
        return r.EmptyResult()

    async def handle_archive(self, command: c.ThreadArchive) -> r.EmptyResult:
        """``thread.archive``: the thread is forgotten here."""
        definition = self._archiving(command.provider_id)
        handle = await self._supervisor.enter(command.environment_id, command.workspace_context)
        owner = self._owners.get(command.thread_id)
        if owner is not None:
            await owner.stop()
        place = agent_place(handle, definition)
        await handle.call(self._set_archived, definition, place, command.provider_thread_id, True)
        return r.EmptyResult()

    async def handle_unarchive(self, command: c.ThreadUnarchive) -> r.EmptyResult:
        """``thread.unarchive``: needs no environment."""
        definition = self._archiving(command.provider_id)
        async with self._ports.maintenance.open_place() as maintenance:
            place = AgentPlace(
                maintenance.opener, maintenance.path, child_environ(definition.environ)
            )
            await self._set_archived(definition, place, command.provider_thread_id, False)
        return r.EmptyResult()

    def _archiving(self, provider_id: str) -> ProviderDefinition:
        definition = self._registry.definition(provider_id)
        if not self._registry.supports_archive(definition):
            raise AgentError(f"Provider {provider_id} has no archive")
        return definition

    async def _set_archived(
        self,
        definition: ProviderDefinition,
        place: AgentPlace,
        provider_thread_id: str,
        archived: bool,
    ) -> None:
        definition = await self._installed(definition)
        provider = self._registry.provider(definition)
        try:
            await provider.set_archived(place, provider_thread_id, archived=archived)
        except ExceptionGroup as group:
            raise first_of(group, BbhostError) or group from group

    async def handle_deleted(self, command: c.ThreadDeleted) -> r.EmptyResult:
        """``thread.deleted``: its storage goes; the workspace is not touched."""
        self._ports.storage.path_of(command.thread_id)
        owner = self._loaded(command.environment_id, command.thread_id)
        if owner is not None:
            await owner.stop()
        await self._ports.storage.delete(command.thread_id)
        return r.EmptyResult()

    async def handle_resolve(self, command: c.InteractiveResolve) -> r.EmptyResult:
        """``interactive.resolve``."""
        self._interactions.resolve(command)
        return r.EmptyResult()

    # --- providers ----------------------------------------------------------------------------

    async def handle_provider_list(self, command: c.ProviderList) -> r.ProviderListResult:
        """``provider.list``: what is installed is looked up, nothing is started."""
        path = child_environ().get("PATH")
        return r.ProviderListResult(await trio.to_thread.run_sync(self._registry.infos, path))

    async def handle_list_models(
        self, command: c.ProviderListModels
    ) -> r.ProviderListModelsResult:
        """``provider.list_models``."""
        definition = await self._installed(self._registry.definition(command.provider_id))
        known = self._models.get(definition.id)
        if known is None or trio.current_time() - known[0] > MODELS_SECONDS:
            found = await self._flights.run(definition.id, partial(self._ask_models, definition))
            known = self._models[definition.id] = (trio.current_time(), found)
        return r.ProviderListModelsResult(known[1].models, known[1].selected_only)

    async def _ask_models(self, definition: ProviderDefinition) -> ModelList:
        try:
            async with self._ports.maintenance.open_place() as maintenance:
                place = AgentPlace(
                    maintenance.opener, maintenance.path, child_environ(definition.environ)
                )
                return await self._registry.provider(definition).list_models(place)
        except ExceptionGroup as group:
            raise first_of(group, BbhostError) or group from group

    async def _installed(self, definition: ProviderDefinition) -> ProviderDefinition:
        path = child_environ().get("PATH")
        return await trio.to_thread.run_sync(self._registry.require_installed, definition, path)
