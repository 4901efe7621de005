"""Keeping the commits of a branch that provisioning is about to reset.

The contract makes worktrees with ``git worktree add -B``. Where the branch is there already (an environment
that is provisioned again, or a name that a branch of the user's has) commits that nothing else leads to
would be left to the reflog. They become the part ``branch`` of a rescue instead.
"""

import time
from pathlib import Path

from bbhost.workspace.git import Git
from bbhost.workspace.import_run import import_commits
from bbhost.workspace.import_stream import ImportStream
from bbhost.workspace.rescue_names import IDENTITY, RescueNote, format_note, rescue_prefix
from bbhost.workspace.worktree_add import WorktreeOrder

KEEP_SECONDS = 60.0
"""Deadline of each git child."""


async def keep_replaced_branch(
    git: Git,
    order: WorktreeOrder,
    environment_id: str,
    incarnation: int,
) -> str | None:
    """Keep where ``order.branch`` stands, if a reset to ``order.base`` would lose commits.

    No process where the branch is new or stands at the base, one where another branch or a tag leads to
    its commits, two where they have to be kept.

    Returns:
        The ref that was made: a commit without changes whose parent is the old tip.

    Raises:
        GitCommandError, GitTimeoutError: they could not be kept; the branch must not be reset.

    Cancellation: safe; the ref is made or not.
    """
    tip = order.replaced
    if tip is None:
        return None
    common_dir = order.source.common_dir
    if await _others_lead_to(git, common_dir, tip, order.branch):
        return None
    ref = rescue_prefix(environment_id, incarnation) + "branch"
    note = RescueNote(environment_id, incarnation, str(order.path), order.branch, {})
    stream = ImportStream(IDENTITY, int(time.time()))
    stream.commit(ref, format_note(note, "branch"), tip, ())
    await import_commits(git, common_dir, stream.finish(), timeout_seconds=KEEP_SECONDS)
    return ref


async def _others_lead_to(git: Git, common_dir: Path, tip: str, branch: str) -> bool:
    result = await git.run(
        "for-each-ref",
        "--count=2",
        f"--contains={tip}",
        "--format=%(refname)",
        "refs/heads",
        "refs/remotes",
        "refs/tags",
        cwd=common_dir,
        git_dir=common_dir,
        timeout_seconds=KEEP_SECONDS,
    )
    names = set(result.stdout.decode("utf-8", "surrogateescape").splitlines())
    return bool(names - {f"refs/heads/{branch}"})
