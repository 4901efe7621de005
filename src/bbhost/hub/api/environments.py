"""Public values about environments."""

from enum import StrEnum
from typing import ClassVar, Literal

from attrs import frozen

from bbhost.contract.fields import BranchName, NonEmpty, PositiveInt
from bbhost.contract.wire import absent

DEFAULT_SETUP_TIMEOUT_MS = 900_000


class ServerState(StrEnum):
    """State of an environment on the server."""

    PROVISIONING = "provisioning"
    READY = "ready"
    DESTROYING = "destroying"
    DESTROYED = "destroyed"
    ERROR = "error"


@frozen
class Fault:
    """Why the last provisioning or destroy failed: the daemon's code and sentence."""

    code: str
    message: str


@frozen
class Environment:
    """A place to work on a host. Times are milliseconds since the epoch."""

    id: str
    host_id: str
    name: str
    workspace_provision_type: str
    state: ServerState
    workspace_path: str
    is_git_repo: bool | None
    """None until provisioned, like the branches."""
    branch_name: str | None
    default_branch: str | None
    error: Fault | None
    destroy_again_at: int | None
    """When a failed destroy is tried again."""
    created_at: int
    updated_at: int


@frozen
class EnvironmentList:
    """Environments, oldest first."""

    environments: tuple[Environment, ...]


@frozen
class RequestedCheckout:
    """Switch an unmanaged workspace to a branch, existing or new (at ``base_branch``)."""

    STRICT: ClassVar[bool] = True
    kind: Literal["existing", "new"]
    name: BranchName
    base_branch: BranchName | None = absent()


@frozen
class RequestedWorkspace:
    """The workspace to provision.

    ``managed-worktree`` needs ``source_path``, the absolute path of a repository on the host;
    ``unmanaged`` needs ``path``; ``personal`` needs nothing. Where the worktree or the personal
    directory goes is computed from the host's data directory. ``branch_name`` defaults to
    ``bbhost/<environment id>``, ``base_branch`` to the repository's default branch.
    """

    STRICT: ClassVar[bool] = True
    workspace_provision_type: Literal["managed-worktree", "unmanaged", "personal"]
    source_path: NonEmpty | None = absent()
    branch_name: BranchName | None = absent()
    base_branch: BranchName | None = absent()
    setup_timeout_ms: PositiveInt | None = absent()
    path: NonEmpty | None = absent()
    checkout: RequestedCheckout | None = absent()


@frozen
class CreateEnvironment:
    """Asks for a new environment. ``host_id`` may be left out where there is one host only."""

    STRICT: ClassVar[bool] = True
    workspace: RequestedWorkspace
    host_id: NonEmpty | None = absent()
    name: NonEmpty | None = absent()


@frozen
class ProvisionAgain:
    """Provision a destroyed or failed environment again, or switch an unmanaged one's branch."""

    STRICT: ClassVar[bool] = True
    checkout: RequestedCheckout | None = absent()


@frozen
class TranscriptAnswer:
    """What provisioning has said so far."""

    environment_id: str
    provisioning_id: str
    state: ServerState
    entries: tuple[object, ...]


@frozen
class CommitRequest:
    """Commit everything in the workspace."""

    STRICT: ClassVar[bool] = True
    message: NonEmpty


@frozen
class SquashMergeRequest:
    """Merge the workspace's branch into a local branch as one commit."""

    STRICT: ClassVar[bool] = True
    target_branch: BranchName
    commit_message: NonEmpty
