"""Which git operation a checkout is in the middle of, read from its git dir. Blocking."""

from enum import StrEnum
from pathlib import Path


class GitOperationKind(StrEnum):
    """An operation that git was started on and has not ended."""

    NONE = "none"
    MERGE = "merge"
    REBASE = "rebase"
    CHERRY_PICK = "cherry-pick"
    REVERT = "revert"


_MARKS = (
    ("rebase-merge", GitOperationKind.REBASE),
    ("rebase-apply", GitOperationKind.REBASE),
    ("MERGE_HEAD", GitOperationKind.MERGE),
    ("CHERRY_PICK_HEAD", GitOperationKind.CHERRY_PICK),
    ("REVERT_HEAD", GitOperationKind.REVERT),
)


def operation_in_progress(git_dir: Path) -> GitOperationKind:
    """Return the operation; a rebase first, since it may stop in a pick of its own."""
    for name, kind in _MARKS:
        if (git_dir / name).exists():
            return kind
    return GitOperationKind.NONE
