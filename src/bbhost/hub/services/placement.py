"""Where workspaces go and how a request becomes a specification. Pure.

Every path on a host is computed from the data directory that its daemon named at session open (wire
contract, section 3): ``worktrees/<environment>/<repository>`` and ``personal-workspaces/<environment>``.
"""

import re
from posixpath import basename, isabs

from bbhost.contract.shared import ProvisionSpec
from bbhost.domain.workspace import (
    Checkout,
    ExistingBranchCheckout,
    ManagedWorktreeSpec,
    NewBranchCheckout,
    PersonalSpec,
    UnmanagedSpec,
)
from bbhost.hub.api.environments import (
    DEFAULT_SETUP_TIMEOUT_MS,
    RequestedCheckout,
    RequestedWorkspace,
)
from bbhost.hub.errors import invalid_request

_DIRECTORY_NAME = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._-]*")


def thread_storage_path(data_dir: str, thread_id: str) -> str:
    """Return where a thread's durable files are."""
    return f"{data_dir}/thread-storage/{thread_id}"


def plan_workspace(
    request: RequestedWorkspace, *, environment_id: str, data_dir: str
) -> ProvisionSpec:
    """Turn a request into the specification that the daemon gets.

    Raises:
        ApiError: 400, a field is missing, does not belong to this kind, or is no absolute path.
    """
    match request.workspace_provision_type:
        case "managed-worktree":
            _refuse(request, "path", "checkout")
            source = _absolute(request.source_path, "sourcePath")
            return ManagedWorktreeSpec(
                source_path=source,
                target_path=f"{data_dir}/worktrees/{environment_id}/{repository_name(source)}",
                branch_name=request.branch_name or f"bbhost/{environment_id}",
                base_branch=request.base_branch,
                setup_timeout_ms=request.setup_timeout_ms or DEFAULT_SETUP_TIMEOUT_MS,
            )
        case "unmanaged":
            _refuse(request, "source_path", "branch_name", "base_branch", "setup_timeout_ms")
            path = _absolute(request.path, "path")
            return UnmanagedSpec(path=path, checkout=plan_checkout(request.checkout))
        case "personal":
            _refuse(
                request, "source_path", "branch_name", "base_branch", "setup_timeout_ms", "path",
                "checkout",
            )  # fmt: skip
            return PersonalSpec(target_path=f"{data_dir}/personal-workspaces/{environment_id}")


def plan_checkout(request: RequestedCheckout | None) -> Checkout | None:
    """Turn a requested checkout into the daemon's.

    Raises:
        ApiError: 400, a new branch has no base branch, or an existing one has.
    """
    if request is None:
        return None
    if request.kind == "existing":
        if request.base_branch is not None:
            raise invalid_request("checkout.baseBranch: belongs to a new branch only")
        return ExistingBranchCheckout(request.name)
    if request.base_branch is None:
        raise invalid_request("checkout.baseBranch: is missing")
    return NewBranchCheckout(request.name, request.base_branch)


def repository_name(source_path: str) -> str:
    """Return the directory name of worktrees made from ``source_path``.

    Raises:
        ApiError: 400, the name would not be safe as a directory.
    """
    name = basename(source_path.rstrip("/")).removesuffix(".git")
    if not _DIRECTORY_NAME.fullmatch(name) or name in {".", ".."}:
        raise invalid_request(f"sourcePath: {name!r} cannot name a worktree's directory")
    return name


def _absolute(path: str | None, field: str) -> str:
    if path is None:
        raise invalid_request(f"workspace.{field}: is missing")
    if not isabs(path) or "\0" in path:
        raise invalid_request(f"workspace.{field}: must be an absolute path")
    return path


def _refuse(request: RequestedWorkspace, *names: str) -> None:
    for name in names:
        if getattr(request, name) is not None:
            raise invalid_request(
                f"workspace.{name}: does not belong to {request.workspace_provision_type}"
            )
