"""What the watches of one repository remember of the branches that provisioning made."""

from bbhost.environment.workspaces import _SharedRefs
from bbhost.watch import WatchTarget
from bbhost.watch.debounce import Debounce
from bbhost.watch.watch import Watch
from bbhost.workspace.refs import RefsSnapshot

TIP, OTHER = "1" * 40, "2" * 40


def make_watch() -> Watch:
    return Watch(WatchTarget("/nowhere"), None, Debounce(0.075, 0.5), lambda _watch: None)


A_WATCH = make_watch()


def test_branches_that_are_gone_are_forgotten() -> None:
    """A repository that is watched for weeks does not remember every branch it ever had."""
    shared = _SharedRefs(made={"b": None})
    assert shared.news(RefsSnapshot({"main": TIP}, {}, None), A_WATCH).heads == {"main": TIP}
    assert "b" in shared.made, "it is about to be made"
    assert shared.news(RefsSnapshot({"main": TIP, "b": TIP}, {}, None), A_WATCH).heads == {
        "main": TIP
    }
    assert shared.news(RefsSnapshot({"main": TIP}, {}, None), A_WATCH).heads == {"main": TIP}
    assert shared.made == {}


def test_a_branch_that_moved_on_is_news() -> None:
    shared = _SharedRefs(made={"b": TIP})
    assert shared.news(RefsSnapshot({"b": OTHER}, {}, None), A_WATCH).heads == {"b": OTHER}


async def test_the_siblings_are_told_of_news_by_whoever_reads_it() -> None:
    reader, sibling = make_watch(), make_watch()
    shared = _SharedRefs(seen={reader: 0, sibling: 0}, made={"b": None})
    shared.news(RefsSnapshot({"main": TIP}, {}, None), reader)
    assert not sibling.has_refs, "the first reading is no change"
    shared.news(RefsSnapshot({"main": TIP, "b": TIP}, {}, None), reader)
    assert not sibling.has_refs, "what provisioning made is no news"
    shared.news(RefsSnapshot({"main": OTHER, "b": TIP}, {}, None), reader)
    assert sibling.has_refs
    assert not reader.has_refs
