"""Switching an unmanaged workspace to a branch, where that cannot lose anything (wire contract, 19.1)."""

from pathlib import Path

from attrs import frozen

from bbhost.domain.workspace import Checkout, NewBranchCheckout
from bbhost.errors import CheckoutRefusedError, NotGitRepoError
from bbhost.toolkit.faults import fault_point
from bbhost.workspace.discover import Found, find_workspace
from bbhost.workspace.disk import on_disk
from bbhost.workspace.operations import GitOperationKind, operation_in_progress
from bbhost.workspace.repository import Repository
from bbhost.workspace.tools import WorkspaceTools
from bbhost.workspace.transcript import Transcript
from bbhost.workspace.work_scan import scan_work

SWITCH_SECONDS = 300.0
"""Deadline of the switch itself."""


async def switch_branch(
    tools: WorkspaceTools, path: Path, checkout: Checkout, transcript: Transcript
) -> bool:
    """Switch the workspace at ``path``; False where it was on the branch already.

    Raises:
        PathNotFoundError, NotGitRepoError: there is nothing to switch.
        CheckoutRefusedError: the workspace is not in a state that a switch leaves unharmed.
        GitCommandError: git refused.

    Cancellation: git is ended; it leaves either branch, or local changes if it was cut short.
    """
    words = _Words.of(checkout)
    waiting = transcript.started("git-checkout-waiting", f"Waiting to {words.infinitive}")
    step = waiting
    admitted = False
    try:
        repository = await _repository(path)
        async with tools.locks.checkout(repository.git_dir):
            waiting.completed("git-checkout-waiting", f"Ready to {words.infinitive}")
            admitted = True
            switched = False
            if await _must_switch(tools, await find_workspace(path), checkout):
                step = transcript.started("git-checkout-started", words.doing)
                fault_point("checkout.before_switch")
                await tools.git.run(
                    *_arguments(checkout), cwd=path, timeout_seconds=SWITCH_SECONDS
                )
                tools.refs.invalidate(repository.common_dir)
                fault_point("checkout.switched")
                switched = True
    except Exception:
        if not admitted:
            waiting.failed("git-checkout-waiting", f"Failed waiting to {words.infinitive}")
        step.failed("git-checkout-failed", f"Failed to {words.infinitive}")
        raise
    done = words.done if switched else f"Already on branch {checkout.name}"
    step.completed("git-checkout-completed", done)
    return switched


async def _must_switch(tools: WorkspaceTools, found: Found, checkout: Checkout) -> bool:
    """Whether a switch is needed and allowed; the order of the refusals is the contract's."""
    repository = found.repository
    if repository is None:
        raise NotGitRepoError(f"Cannot checkout branch on non-git workspace: {found.path}")
    if found.head is None:
        raise CheckoutRefusedError(
            "Cannot inspect current checkout: HEAD cannot be read", code="checkout_unknown"
        )
    if found.branch == checkout.name:
        return False
    if found.branch is None:
        raise CheckoutRefusedError(
            "Cannot checkout branch while the workspace is on a detached HEAD",
            code="checkout_detached",
        )
    refs = await tools.refs.refs(repository)
    if found.branch not in refs.heads:
        raise CheckoutRefusedError(
            "Cannot checkout branch before the current branch has an initial commit",
            code="checkout_unborn",
        )
    if not isinstance(checkout, NewBranchCheckout) and checkout.name not in refs.heads:
        raise CheckoutRefusedError(
            f"Cannot checkout missing branch {checkout.name}", code="checkout_missing_branch"
        )
    await _require_quiet(tools, repository)
    return True


async def _require_quiet(tools: WorkspaceTools, repository: Repository) -> None:
    operation = await on_disk(operation_in_progress, repository.git_dir)
    found = await scan_work(tools.git, repository)
    if operation is not GitOperationKind.NONE:
        if any(change.stages for change in found.changes):
            raise CheckoutRefusedError(
                f"Cannot checkout branch while {operation} has unresolved conflicts",
                code="checkout_conflicts",
            )
        raise CheckoutRefusedError(
            f"Cannot checkout branch while {operation} is in progress",
            code="checkout_in_progress_operation",
        )
    if found.changes or found.untracked or found.nested:
        raise CheckoutRefusedError(
            "Cannot checkout branch while the workspace has uncommitted changes",
            code="checkout_dirty",
        )


async def _repository(path: Path) -> Repository:
    found = await find_workspace(path)
    if found.repository is None:
        raise NotGitRepoError(f"Cannot checkout branch on non-git workspace: {path}")
    return found.repository


def _arguments(checkout: Checkout) -> tuple[str, ...]:
    if isinstance(checkout, NewBranchCheckout):
        return ("switch", "-C", checkout.name, checkout.base_branch)
    return ("switch", checkout.name)


@frozen
class _Words:
    """One switch, in the forms the transcript needs."""

    infinitive: str
    doing: str
    done: str

    @classmethod
    def of(cls, checkout: Checkout) -> "_Words":
        name = checkout.name
        if isinstance(checkout, NewBranchCheckout):
            return cls(
                f"create branch {name}", f"Creating branch {name}", f"Created branch {name}"
            )
        return cls(
            f"switch to branch {name}", f"Switching to branch {name}", f"Switched to branch {name}"
        )
