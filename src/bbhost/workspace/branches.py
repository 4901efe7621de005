"""The branches and the checkout of a directory (``host.list_branches``): two git processes at most."""

from collections.abc import Iterable
from pathlib import Path

from bbhost.contract.results import (
    Detached,
    GitCheckoutRef,
    GitOperation,
    NoOperation,
    OnBranch,
    OperationInProgress,
    ProjectSourceCheckout,
    SelectedBranch,
    Unborn,
    UnknownCheckout,
)
from bbhost.errors import InvalidPathError
from bbhost.workspace.disk import on_disk
from bbhost.workspace.git import Git
from bbhost.workspace.operations import GitOperationKind, operation_in_progress
from bbhost.workspace.porcelain import PorcelainStatus, parse_porcelain
from bbhost.workspace.refs import RefsCache, RefsSnapshot
from bbhost.workspace.repository import discover_repository


async def read_branches(
    git: Git,
    refs_cache: RefsCache,
    path: str,
    *,
    query: str | None,
    selected_branch: str | None,
    limit: int,
) -> ProjectSourceCheckout:
    """List branches and describe the checkout at ``path``.

    Args:
        path: absolute. A directory that is no git work tree, or is missing, gives an empty answer.
        query: only branches that contain it, whatever the case; blank for all.
        selected_branch: say whether this one exists, whatever the query and the limit leave out.
        limit: of each of the two lists.

    Raises:
        InvalidPathError: the path is relative.
        GitCommandError, GitTimeoutError: git failed or took too long.
    """
    if not Path(path).is_absolute():
        raise InvalidPathError(f"Path must be absolute: {path}")
    repository = await on_disk(discover_repository, path)
    if repository is None:
        return _no_repository(selected_branch)
    printed = await git.run(
        *("status", "--porcelain=v2", "--branch", "--no-ahead-behind", "-z"),
        *("--untracked-files=normal", "--ignore-submodules=dirty"),
        cwd=repository.work_tree,
        timeout_seconds=git.look_seconds,
    )
    status = parse_porcelain(printed.stdout)
    refs = await refs_cache.refs(repository)
    operation = await on_disk(operation_in_progress, repository.git_dir)
    branches = _matching(_default_first(refs), query)
    remotes = _matching(refs.remotes, query)
    return ProjectSourceCheckout(
        branches=tuple(branches[:limit]),
        branches_truncated=len(branches) > limit,
        checkout=_checkout(status),
        default_branch=refs.default_branch or None,
        has_uncommitted_changes=bool(status.files),
        operation=_operation(operation, status),
        remote_branches=tuple(remotes[:limit]),
        remote_branches_truncated=len(remotes) > limit,
        selected_branch=_classify(selected_branch, refs),
    )


def _no_repository(selected_branch: str | None) -> ProjectSourceCheckout:
    return ProjectSourceCheckout(
        branches=(),
        branches_truncated=False,
        checkout=UnknownCheckout("Not a git repository"),
        default_branch=None,
        has_uncommitted_changes=False,
        operation=NoOperation(),
        remote_branches=(),
        remote_branches_truncated=False,
        selected_branch=_classify(selected_branch, RefsSnapshot({}, {}, None)),
    )


def _default_first(refs: RefsSnapshot) -> list[str]:
    default = refs.default_branch
    return sorted(refs.heads, key=lambda name: (name != default, name))


def _matching(names: Iterable[str], query: str | None) -> list[str]:
    wanted = (query or "").strip().casefold()
    return [name for name in names if wanted in name.casefold()]


def _checkout(status: PorcelainStatus) -> GitCheckoutRef:
    if status.head is None:
        return Unborn(status.branch)
    if status.branch is None:
        return Detached(status.head)
    return OnBranch(status.branch, status.head)


def _operation(kind: GitOperationKind, status: PorcelainStatus) -> GitOperation:
    match kind:
        case GitOperationKind.NONE:
            return NoOperation()
        case GitOperationKind.MERGE:
            return OperationInProgress("merge", status.has_conflicts)
        case GitOperationKind.REBASE:
            return OperationInProgress("rebase", status.has_conflicts)
        case GitOperationKind.CHERRY_PICK:
            return OperationInProgress("cherry-pick", status.has_conflicts)
        case GitOperationKind.REVERT:
            return OperationInProgress("revert", status.has_conflicts)


def _classify(name: str | None, refs: RefsSnapshot) -> SelectedBranch | None:
    if name is None:
        return None
    if name in refs.heads:
        return SelectedBranch(name, "local")
    return SelectedBranch(name, "remote" if name in refs.remotes else "missing")
