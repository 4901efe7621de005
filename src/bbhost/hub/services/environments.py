"""Environments: made, asked, destroyed, and what the daemon's answers do to them."""

import json
import sqlite3

from bbhost.contract.codec import encode_json, structure
from bbhost.contract.commands import (
    EnvironmentDestroy,
    EnvironmentProvision,
    Initiator,
    WorkspaceCommit,
    WorkspaceDiffCommand,
    WorkspaceSquashMerge,
    WorkspaceStatusCommand,
)
from bbhost.contract.ids import new_id
from bbhost.contract.shared import ProvisionSpec
from bbhost.domain.ids import EnvironmentId, ThreadId
from bbhost.domain.status import DiffTarget
from bbhost.domain.workspace import (
    UnmanagedSpec,
    WorkspaceContext,
    WorkspaceKind,
    workspace_kind,
    workspace_path,
)
from bbhost.hub.api.environments import (
    CreateEnvironment,
    Environment,
    EnvironmentList,
    Fault,
    ProvisionAgain,
    ServerState,
    TranscriptAnswer,
)
from bbhost.hub.api.notifications import EnvironmentStateChanged
from bbhost.hub.clock import now_ms
from bbhost.hub.errors import ApiError, invalid_request, not_found
from bbhost.hub.services.core import Aftermath, Core
from bbhost.hub.services.hosts import choose_host, data_dir_of
from bbhost.hub.services.placement import plan_checkout, plan_workspace
from bbhost.hub.services.queue import CommandQueue, queue_command
from bbhost.hub.storage import environments as table
from bbhost.hub.storage.environments import EnvironmentRow


def public_environment(row: EnvironmentRow) -> Environment:
    """Return an environment as the public API shows it."""
    found = json.loads(row.discovered) if row.discovered is not None else {}
    fault = None
    if row.error_code is not None:
        fault = Fault(row.error_code, row.error_message or row.error_code)
    return Environment(
        id=row.id,
        host_id=row.host_id,
        name=row.name,
        workspace_provision_type=row.kind,
        state=row.state,
        workspace_path=row.workspace_path,
        is_git_repo=found.get("isGitRepo"),
        branch_name=found.get("branchName"),
        default_branch=found.get("defaultBranch"),
        error=fault,
        destroy_again_at=row.destroy_again_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def context_of(row: EnvironmentRow) -> WorkspaceContext:
    """Return how commands name the workspace of ``row``."""
    return WorkspaceContext(row.workspace_path, WorkspaceKind(row.kind))


def require_environment(db: sqlite3.Connection, environment_id: str) -> EnvironmentRow:
    """Return the environment.

    Raises:
        ApiError: 404.
    """
    row = table.find_environment(db, environment_id)
    if row is None:
        raise not_found("environment", environment_id)
    return row


def tell_state(db: sqlite3.Connection, after: Aftermath, environment_id: str) -> Environment:
    """Announce the state that an environment has now, and return it."""
    shown = public_environment(require_environment(db, environment_id))
    after.tell(EnvironmentStateChanged(shown))
    return shown


def begin_destroy(db: sqlite3.Connection, after: Aftermath, row: EnvironmentRow) -> None:
    """Queue the destruction of an environment unless it is under way or done."""
    if table.begin_destroying(db, row.id, now_ms()):
        command = EnvironmentDestroy(EnvironmentId(row.id), context_of(row))
        queue_command(db, after, row.host_id, command)
        tell_state(db, after, row.id)


class Environments:
    """What the public API can do with environments."""

    def __init__(self, core: Core, queue: CommandQueue) -> None:
        self._core = core
        self._queue = queue

    # --- life -------------------------------------------------------------------------------

    async def create(self, request: CreateEnvironment) -> Environment:
        """Remember a new environment and queue its provisioning.

        Raises:
            ApiError: 409, another one has the name, with which neither could be named any more.
        """
        environment_id = EnvironmentId(new_id("env"))

        def step(db: sqlite3.Connection, after: Aftermath) -> Environment:
            host = choose_host(db, request.host_id)
            if request.name is not None and table.is_name_taken(db, request.name):
                raise ApiError(
                    409, "name_taken", f"There is an environment of the name {request.name!r}"
                )
            spec = plan_workspace(
                request.workspace, environment_id=environment_id, data_dir=data_dir_of(host)
            )
            now = now_ms()
            row = EnvironmentRow(
                id=environment_id,
                host_id=host.id,
                name=request.name or environment_id,
                kind=workspace_kind(spec).value,
                state=ServerState.PROVISIONING,
                spec=encode_json(spec),
                workspace_path=workspace_path(spec),
                discovered=None,
                provisioning_id=new_id("tpv"),
                progress_thread_id=new_id("thr"),
                error_code=None,
                error_message=None,
                destroy_attempts=0,
                destroy_again_at=None,
                created_at=now,
                updated_at=now,
            )
            table.add_environment(db, row)
            queue_command(db, after, host.id, _provision(row, spec))
            return tell_state(db, after, environment_id)

        return await self._core.transact(step)

    async def provision_again(self, environment_id: str, request: ProvisionAgain) -> Environment:
        """Provision anew what is destroyed or failed; switch the branch of an unmanaged one.

        Raises:
            ApiError: 409, the environment is in the middle of something.
        """

        def step(db: sqlite3.Connection, after: Aftermath) -> Environment:
            row = require_environment(db, environment_id)
            if row.state in {ServerState.PROVISIONING, ServerState.DESTROYING}:
                raise ApiError(409, "environment_busy", f"The environment is {row.state.value}")
            spec: ProvisionSpec = structure(ProvisionSpec, json.loads(row.spec))
            if request.checkout is not None:
                if not isinstance(spec, UnmanagedSpec):
                    raise invalid_request("checkout: belongs to an unmanaged workspace only")
                spec = UnmanagedSpec(spec.path, plan_checkout(request.checkout))
            table.begin_provisioning(
                db,
                row.id,
                provisioning_id=new_id("tpv"),
                spec=encode_json(spec),
                now=now_ms(),
            )
            queue_command(
                db, after, row.host_id, _provision(require_environment(db, row.id), spec)
            )
            return tell_state(db, after, row.id)

        return await self._core.transact(step)

    async def destroy(self, environment_id: str) -> Environment:
        """Queue the destruction; asking again changes nothing. Works while the host is away."""

        def step(db: sqlite3.Connection, after: Aftermath) -> Environment:
            begin_destroy(db, after, require_environment(db, environment_id))
            return public_environment(require_environment(db, environment_id))

        return await self._core.transact(step)

    async def sweep(self) -> None:
        """Try failed destroys again that are due."""

        def step(db: sqlite3.Connection, after: Aftermath) -> None:
            for row in table.due_destroys(db, now_ms()):
                begin_destroy(db, after, row)

        await self._core.transact(step)

    # --- reading ----------------------------------------------------------------------------

    async def list(self, host_id: str | None, *, include_destroyed: bool) -> EnvironmentList:
        """Return environments, oldest first."""
        rows = await self._core.read(
            lambda db: table.list_environments(
                db, host_id=host_id, include_destroyed=include_destroyed
            )
        )
        return EnvironmentList(tuple(public_environment(row) for row in rows))

    async def get(self, environment_id: str) -> Environment:
        """Return one environment."""
        return public_environment(await self._row(environment_id))

    async def transcript(self, environment_id: str) -> TranscriptAnswer:
        """Return what the latest provisioning has said so far."""

        def work(db: sqlite3.Connection) -> TranscriptAnswer:
            row = require_environment(db, environment_id)
            entries = table.transcript(db, row.id, row.provisioning_id)
            return TranscriptAnswer(row.id, row.provisioning_id, row.state, tuple(entries))

        return await self._core.read(work)

    # --- asking the daemon ------------------------------------------------------------------

    async def status(self, environment_id: str, merge_base: str | None) -> object:
        """Ask for the status of the workspace, also of one that the hub believes gone."""
        row = await self._row(environment_id)
        return await self._queue.ask(
            row.host_id, WorkspaceStatusCommand(row.id, context_of(row), merge_base)
        )

    async def diff(
        self, environment_id: str, target: DiffTarget, max_diff: int, max_files: int
    ) -> object:
        """Ask for a diff of the workspace."""
        row = await self._row(environment_id)
        return await self._queue.ask(
            row.host_id,
            WorkspaceDiffCommand(row.id, context_of(row), target, max_diff, max_files),
        )

    async def commit(self, environment_id: str, message: str) -> object:
        """Commit everything in the workspace."""
        row = await self._row(environment_id)
        return await self._queue.ask(
            row.host_id, WorkspaceCommit(row.id, context_of(row), message)
        )

    async def squash_merge(self, environment_id: str, target: str, message: str) -> object:
        """Merge the workspace's branch into a local branch as one commit."""
        row = await self._row(environment_id)
        return await self._queue.ask(
            row.host_id, WorkspaceSquashMerge(row.id, context_of(row), target, message)
        )

    async def _row(self, environment_id: str) -> EnvironmentRow:
        return await self._core.read(lambda db: require_environment(db, environment_id))


def _provision(row: EnvironmentRow, spec: ProvisionSpec) -> EnvironmentProvision:
    initiator = Initiator(ThreadId(row.progress_thread_id), row.provisioning_id)
    return EnvironmentProvision(EnvironmentId(row.id), initiator, spec)
