"""``environment.*`` and ``workspace.*``: from commands to handles."""

from bbhost.contract import commands as c
from bbhost.contract import results as r
from bbhost.daemon.provisioning_events import Publish, streamed_entries
from bbhost.environment.actor import Provisioned
from bbhost.environment.supervisor import Supervisor
from bbhost.errors import BbhostError
from bbhost.reconciler.reconciler import Reconciler


class EnvironmentCommands:
    """Handlers of commands that name an environment's workspace."""

    def __init__(
        self,
        supervisor: Supervisor,
        reconciler: Reconciler,
        publish: Publish,
    ) -> None:
        self._supervisor = supervisor
        self._reconciler = reconciler
        self._publish = publish

    async def provision(self, command: c.EnvironmentProvision) -> r.EnvironmentProvisionResult:
        """``environment.provision``."""
        self._reconciler.welcome(command.environment_id)
        # A failure must leave the block as itself, not in the group of a nursery.
        outcome: Provisioned | BbhostError
        async with streamed_entries(
            command.environment_id, command.initiator, self._publish
        ) as note:
            try:
                outcome = await self._supervisor.provision(
                    command.environment_id, command.spec, note
                )
            except BbhostError as error:
                outcome = error
        if isinstance(outcome, BbhostError):
            raise outcome
        return r.EnvironmentProvisionResult(outcome.transcript, outcome.discovered)

    async def destroy(self, command: c.EnvironmentDestroy) -> r.EmptyResult:
        """``environment.destroy``."""
        self._reconciler.dismiss(command.environment_id)
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
