"""Filters that a repository configures itself, which this daemon does not run.

A commit that left out such a filter would store what must not be stored: secrets in clear where
git-crypt is set up in the repository alone, whole files where Git LFS is. So it is refused.
"""

from bbhost.errors import GitCommandError
from bbhost.workspace.config_scan import ConfigScan
from bbhost.workspace.git import Git
from bbhost.workspace.hardening import split_key
from bbhost.workspace.repository import Repository

LIST_SECONDS = 60.0
"""Deadline of each git child that lists; they run only where a filter is disarmed."""


async def require_working_filters(git: Git, repository: Repository) -> None:
    """Return if no file that a commit would store has a filter that is not run.

    Raises:
        GitCommandError: one has; the message says how to have the filter run.
    """
    disarmed = disarmed_filters(await git.scan(repository.work_tree))
    if not disarmed:
        return
    listed = await git.run(
        "ls-files", "-z", "--modified", "--others", "--exclude-standard",
        cwd=repository.work_tree, timeout_seconds=LIST_SECONDS,
    )  # fmt: skip
    if not listed.stdout:
        return
    result = await git.run(
        "check-attr", "-z", "--stdin", "filter",
        cwd=repository.work_tree, stdin=listed.stdout, timeout_seconds=LIST_SECONDS,
    )  # fmt: skip
    fields = result.stdout.decode("utf-8", "replace").split("\0")
    for path, name in zip(fields[::3], fields[2::3], strict=False):
        if name in disarmed:
            raise GitCommandError(
                f"git commit refused: {path} has the filter {name}, which only the repository's own "
                "configuration defines and which is not run here; configure it with `git config "
                "--global` to trust it, or commit in a terminal"
            )


def disarmed_filters(scan: ConfigScan) -> frozenset[str]:
    """Names of filters of which nothing is left after disarming; the user's own keep their commands."""
    effective = {split_key(key): value for key, value in scan.pairs}
    names = {split_key(key)[1] for key in scan.disarmed if split_key(key)[0] == "filter"}
    return frozenset(
        name
        for name in names
        if not effective.get(("filter", name, "clean"))
        and not effective.get(("filter", name, "process"))
    )
