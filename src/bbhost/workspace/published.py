"""Recognising a commit that was made before, by what was known before it was made."""

import re

from attrs import frozen

from bbhost.workspace.git import Git
from bbhost.workspace.repository import Repository

MAX_COMMITS_SINCE = 200
"""How many commits on top of the one looked for are looked through."""
READ_SECONDS = 15.0
_FORMAT = "%H%x00%P%x00%s%x00%B%x00%x00"


@frozen
class CommitSummaryLine:
    """A commit as results name it."""

    sha: str
    subject: str


async def read_commit(git: Git, repository: Repository, revision: str) -> CommitSummaryLine:
    """Return id and subject of a commit."""
    result = await git.run(
        "log",
        "-1",
        "--format=%H%x00%s",
        revision,
        "--",
        cwd=repository.work_tree,
        timeout_seconds=READ_SECONDS,
    )
    sha, _, subject = result.stdout.decode("utf-8", "replace").strip("\n").partition("\0")
    return CommitSummaryLine(sha, subject)


async def find_commit(
    git: Git, repository: Repository, tip: str, parent: str | None, message: str
) -> CommitSummaryLine | None:
    """Look from ``tip`` down the first parents for a commit on ``parent`` with this message.

    None where there is none, where ``tip`` does not exist, or where it was rewritten since.
    """
    revisions = [tip] if parent is None else [tip, f"^{parent}"]
    result = await git.run(
        "log",
        "--first-parent",
        f"--max-count={MAX_COMMITS_SINCE}",
        f"--format={_FORMAT}",
        *revisions,
        "--",
        cwd=repository.work_tree,
        check=False,
        timeout_seconds=READ_SECONDS,
    )
    if result.returncode != 0:
        return None
    wanted = clean_message(message)
    for record in result.stdout.decode("utf-8", "replace").split("\0\0\n"):
        fields = record.split("\0")
        if len(fields) != 4:
            continue
        sha, parents, subject, body = fields
        first = parents.split(" ")[0] or None
        if first == parent and clean_message(body) == wanted:
            return CommitSummaryLine(sha, subject)
    return None


def clean_message(message: str) -> str:
    """Return a message as ``git commit`` stores it: no trailing blanks, no needless empty lines. Pure."""
    lines = "\n".join(line.rstrip() for line in message.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", lines).strip("\n")
