"""Reading ``git log --left-right --raw -z`` of the symmetric difference of two commits. Pure."""

from attrs import define, field, frozen

from bbhost.domain.status import CommitSummary


@frozen
class HistoryCommit:
    """One commit, and which files it touches."""

    summary: CommitSummary
    touched: frozenset[tuple[str, bytes]]
    """Status letter and name of each file, renames taken apart; empty for a merge."""

    @property
    def sha(self) -> str:
        """Full commit id."""
        return self.summary.sha


@frozen
class CommitLog:
    """Both sides. "Ahead" and "behind" leave out commits whose patch is on both sides."""

    ahead: tuple[HistoryCommit, ...]
    """Only on the right side, oldest first."""
    behind_count: int
    base_side: tuple[HistoryCommit, ...]
    """On the left side, and those whose patch is on both, oldest first."""
    boundary: tuple[str, ...]
    """Parents of these commits that both sides have; every merge base is among them."""
    is_partial: bool = False
    """The boundary was not asked for."""


@define
class _Open:
    """A commit whose files are being read."""

    mark: str
    summary: CommitSummary
    touched: set[tuple[str, bytes]] = field(factory=set)


def parse_log(output: bytes) -> CommitLog:
    """Parse marks, six fields for each commit, and its raw changes."""
    commits: list[_Open] = []
    fields = iter(output.split(b"\0"))
    for head in fields:
        token = head.lstrip(b"\n")
        if token.startswith(b":"):
            letter = token.rsplit(b" ", 1)[-1][:1].decode("ascii", "replace")
            commits[-1].touched.add((letter, next(fields, b"")))
        elif token:
            mark = token.decode("ascii", "replace")
            rest = [next(fields, b"").decode("utf-8", "replace") for _ in range(5)]
            commits.append(_Open(mark, _summary(*rest)))
    ahead, base_side, behind_count = [], [], 0
    boundary = []
    for commit in commits:
        if commit.mark == "-":
            boundary.append(commit.summary.sha)
            continue
        done = HistoryCommit(commit.summary, frozenset(commit.touched))
        if commit.mark == ">":
            ahead.append(done)
        else:
            base_side.append(done)
            behind_count += commit.mark == "<"
    return CommitLog(tuple(ahead), behind_count, tuple(base_side), tuple(boundary))


def _summary(sha: str, short_sha: str, author: str, seconds: str, subject: str) -> CommitSummary:
    # An author line that git cannot read has no time.
    authored_at = int(seconds) * 1000 if seconds.lstrip("-").isdecimal() else 0
    return CommitSummary(sha, short_sha, subject, author, authored_at)
