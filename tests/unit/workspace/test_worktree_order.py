"""What making a worktree takes from the branches."""

from pathlib import Path

from bbhost.domain.workspace import ManagedWorktreeSpec
from bbhost.workspace.refs import RefsSnapshot
from bbhost.workspace.repository import Repository
from bbhost.workspace.worktree_add import WorktreeOrder, order_worktree

SOURCE = Repository(Path("/source"), Path("/source/.git"), Path("/source/.git"))
BRANCHES = RefsSnapshot(
    {"at-main": "1", "elsewhere": "2", "main": "1"}, {"origin/main": "1", "origin/next": "2"}, None
)


def order(branch: str, base: str | None) -> WorktreeOrder:
    spec = ManagedWorktreeSpec("/source", "/target", branch, base, 1000)
    return order_worktree(spec, SOURCE, BRANCHES)


def test_a_new_branch_begins_at_the_default_branch() -> None:
    new = order("new", None)
    assert (new.base, new.tip, new.replaced) == ("main", "1", None)


def test_a_branch_that_exists_is_continued() -> None:
    own = order("elsewhere", None)
    assert (own.base, own.tip, own.replaced) == ("elsewhere", "2", None)


def test_only_what_a_reset_would_lose_is_replaced() -> None:
    """A branch that stands at the base loses nothing, be the base local or remote."""
    assert order("at-main", "main").replaced is None
    assert order("at-main", "origin/main").replaced is None
    assert order("elsewhere", "origin/next").replaced is None
    assert order("elsewhere", "main").replaced == "2"
    assert order("at-main", "origin/next").replaced == "1"


def test_what_is_no_branch_has_no_tip_that_is_known() -> None:
    """A tag or a commit: git knows where that is, and the branch is compared after all."""
    for base in ("v1", "0" * 40, "HEAD"):
        tagged = order("at-main", base)
        assert (tagged.tip, tagged.replaced) == (None, "1")
