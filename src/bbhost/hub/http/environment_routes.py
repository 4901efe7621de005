"""Public operations on environments."""

from typing import Literal

from attrs import frozen

from bbhost.contract.fields import BranchName, CommitPrefix, NonEmpty, PositiveInt
from bbhost.contract.results import (
    WorkspaceCommitResult,
    WorkspaceDiffResult,
    WorkspaceSquashMergeResult,
    WorkspaceStatusResult,
)
from bbhost.contract.wire import absent
from bbhost.domain.status import (
    AllDiff,
    BranchCommittedDiff,
    CommitDiff,
    DiffTarget,
    UncommittedDiff,
)
from bbhost.hub.api.environments import (
    CommitRequest,
    CreateEnvironment,
    Environment,
    EnvironmentList,
    ProvisionAgain,
    SquashMergeRequest,
    TranscriptAnswer,
)
from bbhost.hub.errors import invalid_request
from bbhost.hub.http.operations import ACCEPTED, DAEMON_ERRORS, Call, Operation
from bbhost.hub.services.environments import Environments

ENVIRONMENTS = "/api/v1/environments"
ENVIRONMENT = "/api/v1/environments/{environment_id}"
DEFAULT_DIFF_CHARACTERS = 2 * 1024 * 1024
DEFAULT_FILE_LIST_CHARACTERS = 256 * 1024


@frozen
class ListQuery:
    """Which environments."""

    host_id: NonEmpty | None = absent()
    include_destroyed: bool | None = absent()


@frozen
class StatusQuery:
    """The branch to compare HEAD with."""

    merge_base: BranchName | None = absent()


@frozen
class DiffQuery:
    """What to compare. ``mergeBase`` goes with ``branch_committed`` and ``all``, ``sha`` with ``commit``."""

    target: Literal["uncommitted", "branch_committed", "all", "commit"] | None = absent()
    merge_base: BranchName | None = absent()
    sha: CommitPrefix | None = absent()
    max_diff_bytes: PositiveInt | None = absent()
    max_file_list_bytes: PositiveInt | None = absent()


def environment_operations(environments: Environments) -> tuple[Operation, ...]:
    """Return the operations on the life of environments."""

    async def create(call: Call) -> object:
        return await environments.create(call.body)

    async def list_all(call: Call) -> object:
        query: ListQuery = call.query
        return await environments.list(
            query.host_id, include_destroyed=bool(query.include_destroyed)
        )

    async def get(call: Call) -> object:
        return await environments.get(call.path["environment_id"])

    async def destroy(call: Call) -> object:
        return await environments.destroy(call.path["environment_id"])

    async def provision(call: Call) -> object:
        return await environments.provision_again(call.path["environment_id"], call.body)

    async def transcript(call: Call) -> object:
        return await environments.transcript(call.path["environment_id"])

    return (
        Operation(
            "POST", ENVIRONMENTS, "createEnvironment", "Provision a new environment",
            create, Environment, status=ACCEPTED, body=CreateEnvironment, errors=(404, 503),
        ),
        Operation(
            "GET", ENVIRONMENTS, "listEnvironments", "List environments",
            list_all, EnvironmentList, query=ListQuery,
        ),
        Operation("GET", ENVIRONMENT, "getEnvironment", "Show an environment", get, Environment),
        Operation(
            "DELETE", ENVIRONMENT, "destroyEnvironment", "Destroy an environment",
            destroy, Environment, status=ACCEPTED,
        ),
        Operation(
            "POST", f"{ENVIRONMENT}/provision", "provisionEnvironment",
            "Provision a destroyed or failed environment again, or switch its branch",
            provision, Environment, status=ACCEPTED, body=ProvisionAgain, errors=(409,),
        ),
        Operation(
            "GET", f"{ENVIRONMENT}/transcript", "getTranscript",
            "Show what the latest provisioning has said so far", transcript, TranscriptAnswer,
        ),
    )  # fmt: skip


def workspace_operations(environments: Environments) -> tuple[Operation, ...]:
    """Return the operations on the workspaces of environments."""

    async def status(call: Call) -> object:
        return await environments.status(call.path["environment_id"], call.query.merge_base)

    async def diff(call: Call) -> object:
        query: DiffQuery = call.query
        return await environments.diff(
            call.path["environment_id"],
            diff_target(query),
            query.max_diff_bytes or DEFAULT_DIFF_CHARACTERS,
            query.max_file_list_bytes or DEFAULT_FILE_LIST_CHARACTERS,
        )

    async def commit(call: Call) -> object:
        return await environments.commit(call.path["environment_id"], call.body.message)

    async def merge(call: Call) -> object:
        return await environments.squash_merge(
            call.path["environment_id"], call.body.target_branch, call.body.commit_message
        )

    return (
        Operation(
            "GET", f"{ENVIRONMENT}/status", "getStatus", "Tell what changed in the workspace",
            status, WorkspaceStatusResult, query=StatusQuery, errors=DAEMON_ERRORS,
        ),
        Operation(
            "GET", f"{ENVIRONMENT}/diff", "getDiff", "Show the changes in the workspace",
            diff, WorkspaceDiffResult, query=DiffQuery, errors=DAEMON_ERRORS,
        ),
        Operation(
            "POST", f"{ENVIRONMENT}/commit", "commit", "Commit everything in the workspace",
            commit, WorkspaceCommitResult, body=CommitRequest, errors=DAEMON_ERRORS,
        ),
        Operation(
            "POST", f"{ENVIRONMENT}/squash-merge", "squashMerge",
            "Merge the workspace's branch into a local branch as one commit",
            merge, WorkspaceSquashMergeResult, body=SquashMergeRequest, errors=DAEMON_ERRORS,
        ),
    )  # fmt: skip


def diff_target(query: DiffQuery) -> DiffTarget:
    """Return what a query wants compared.

    Raises:
        ApiError: 400, ``mergeBase`` or ``sha`` is missing.
    """
    match query.target or "uncommitted":
        case "commit":
            if query.sha is None:
                raise invalid_request("sha: is missing")
            return CommitDiff(query.sha)
        case "uncommitted":
            return UncommittedDiff()
        case target:
            if query.merge_base is None:
                raise invalid_request("mergeBase: is missing")
            if target == "all":
                return AllDiff(query.merge_base)
            return BranchCommittedDiff(query.merge_base)
