"""``environment.*`` and ``workspace.*``: from commands to handles."""

from collections.abc import Callable
from typing import Protocol

from bbhost.contract import commands as c
from bbhost.contract import results as r
from bbhost.domain.ids import EnvironmentId
from bbhost.domain.workspace import TranscriptEntry
from bbhost.environment.supervisor import Supervisor


class ProvisioningEvents(Protocol):
    """Where live transcript entries go (``system/thread-provisioning`` events)."""

    def note_provisioning(
        self, environment_id: EnvironmentId, initiator: c.Initiator, entry: TranscriptEntry
    ) -> None:
        """Emit one entry. Never blocks."""
        ...


class EnvironmentCommands:
    """Handlers of commands that name an environment's workspace."""

    def __init__(
        self,
        supervisor: Supervisor,
        welcome: Callable[[EnvironmentId], None],
        events: ProvisioningEvents,
    ) -> None:
        self._supervisor = supervisor
        self._welcome = welcome
        self._events = events

    async def provision(self, command: c.EnvironmentProvision) -> r.EnvironmentProvisionResult:
        """``environment.provision``."""
        self._welcome(command.environment_id)
        initiator = command.initiator

        def note(entry: TranscriptEntry) -> None:
            if initiator is not None:
                self._events.note_provisioning(command.environment_id, initiator, entry)

        made = await self._supervisor.provision(command.environment_id, command.spec, note)
        return r.EnvironmentProvisionResult(made.transcript, made.discovered)

    async def destroy(self, command: c.EnvironmentDestroy) -> r.EmptyResult:
        """``environment.destroy``."""
        await self._supervisor.destroy(command.environment_id, command.workspace_context)
        return r.EmptyResult()

    async def status(self, command: c.WorkspaceStatusCommand) -> r.WorkspaceStatusResult:
        """``workspace.status``."""
        handle = await self._supervisor.enter(command.environment_id, command.workspace_context)
        return r.WorkspaceStatusResult(await handle.status(command.merge_base_branch))

    async def diff(self, command: c.WorkspaceDiffCommand) -> r.WorkspaceDiffResult:
        """``workspace.diff``."""
        handle = await self._supervisor.enter(command.environment_id, command.workspace_context)
        diff = await handle.diff(
            command.target, command.max_diff_bytes, command.max_file_list_bytes
        )
        return r.WorkspaceDiffResult(diff)
