"""Reading ``git diff --raw --numstat -z``. Pure."""

from collections.abc import Iterator, Mapping

from attrs import frozen

from bbhost.domain.status import FileStatus, WorkspaceFileStatus
from bbhost.workspace.names import text_name
from bbhost.workspace.porcelain import file_status


@frozen
class LineCounts:
    """Lines of one file; both None for a binary file."""

    insertions: int | None
    deletions: int | None


@frozen
class RawChange:
    """One file of a raw diff."""

    status: FileStatus
    name: bytes
    old_name: bytes | None = None
    """Of a renamed or copied file."""
    letter: str = "M"
    """As git printed it."""


@frozen
class DiffSummary:
    """What a diff changes, without its text."""

    changes: tuple[RawChange, ...]
    counts: Mapping[bytes, LineCounts]
    """By name; the new one of a renamed file."""

    @property
    def insertions(self) -> int:
        """Lines added in all."""
        return sum(counts.insertions or 0 for counts in self.counts.values())

    @property
    def deletions(self) -> int:
        """Lines removed in all."""
        return sum(counts.deletions or 0 for counts in self.counts.values())

    def touched(self) -> frozenset[tuple[str, bytes]]:
        """Status letter and name of each file, renames and copies taken apart."""
        pairs = set()
        for change in self.changes:
            if change.status is FileStatus.RENAMED and change.old_name is not None:
                pairs.add(("D", change.old_name))
            if change.old_name is not None:
                pairs.add(("A", change.name))
            else:
                pairs.add((change.letter, change.name))
        return frozenset(pairs)

    def files(self) -> tuple[WorkspaceFileStatus, ...]:
        """The files as the contract shows them."""
        return tuple(
            WorkspaceFileStatus(
                text_name(change.name), change.status, counts.insertions, counts.deletions
            )
            for change in self.changes
            for counts in (self.counts.get(change.name, NO_COUNTS),)
        )


NO_COUNTS = LineCounts(None, None)


def parse_diff_summary(output: bytes) -> DiffSummary:
    """Parse ``--raw --numstat -z``; either part may be missing."""
    fields = iter(output.split(b"\0"))
    changes: list[RawChange] = []
    counts: dict[bytes, LineCounts] = {}
    for head in fields:
        if head.startswith(b":"):
            changes.append(_raw_change(head, fields))
        elif head:
            name, lines = _line_counts(head, fields)
            counts[name] = lines
    return DiffSummary(tuple(changes), counts)


def _raw_change(head: bytes, fields: Iterator[bytes]) -> RawChange:
    letter = head.rsplit(b" ", 1)[-1][:1].decode("ascii", "replace")
    status = file_status(letter)
    name = next(fields, b"")
    if letter in "RC":
        return RawChange(status, next(fields, b""), name, letter)
    return RawChange(status, name, None, letter)


def _line_counts(head: bytes, fields: Iterator[bytes]) -> tuple[bytes, LineCounts]:
    insertions, deletions, name = head.split(b"\t", 2)
    if not name:
        next(fields, None)  # the name it had before
        name = next(fields, b"")
    if insertions == b"-":
        return name, NO_COUNTS
    return name, LineCounts(int(insertions), int(deletions))
