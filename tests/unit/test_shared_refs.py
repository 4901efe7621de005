"""What the watches of one repository remember of the branches that provisioning made."""

from bbhost.environment.workspaces import _SharedRefs
from bbhost.workspace.refs import RefsSnapshot

TIP, OTHER = "1" * 40, "2" * 40


def test_branches_that_are_gone_are_forgotten() -> None:
    """A repository that is watched for weeks does not remember every branch it ever had."""
    shared = _SharedRefs(made={"b": None})
    assert shared.news(RefsSnapshot({"main": TIP}, {}, None)).heads == {"main": TIP}
    assert "b" in shared.made, "it is about to be made"
    assert shared.news(RefsSnapshot({"main": TIP, "b": TIP}, {}, None)).heads == {"main": TIP}
    assert shared.news(RefsSnapshot({"main": TIP}, {}, None)).heads == {"main": TIP}
    assert shared.made == {}


def test_a_branch_that_moved_on_is_news() -> None:
    shared = _SharedRefs(made={"b": TIP})
    assert shared.news(RefsSnapshot({"b": OTHER}, {}, None)).heads == {"b": OTHER}
