"""What the watches of one repository remember of the branches that provisioning made."""

from bbhost.environment.shared_refs import SharedRefs
from bbhost.watch import WatchTarget
from bbhost.watch.debounce import Debounce
from bbhost.watch.watch import Watch
from bbhost.workspace.refs import RefsSnapshot

TIP, OTHER = "1" * 40, "2" * 40


def make_watch() -> Watch:
    return Watch(WatchTarget("/nowhere"), None, Debounce(0.075, 0.5), lambda _watch: None)


A_WATCH = make_watch()


class Branches:
    """A repository's branches, read by one watch whenever they have changed."""

    def __init__(self, made: dict[str, str | None]) -> None:
        self.shared = SharedRefs(made=made)
        self.number = self.shared.note_branches(RefsSnapshot({"main": TIP}, {}, None), A_WATCH)

    def are_news(self, remotes: dict[str, str] | None = None, **heads: str) -> bool:
        """Whether it is worth telling that they are these now."""
        before = self.number
        snapshot = RefsSnapshot({"main": TIP, **heads}, remotes or {}, None)
        self.number = self.shared.note_branches(snapshot, A_WATCH)
        assert self.shared.note_branches(snapshot, make_watch()) == self.number, (
            "read by a sibling"
        )
        return self.number != before


def test_branches_that_are_gone_are_forgotten() -> None:
    """A repository that is watched for weeks does not remember every branch it ever had."""
    branches = Branches({"b": None})
    assert "b" in branches.shared.made, "it is about to be made"
    assert not branches.are_news(b=TIP)
    assert not branches.are_news()
    assert branches.shared.made == {}
    assert branches.are_news(b=TIP), "nobody here made this one"


def test_a_branch_that_moves_is_news() -> None:
    branches = Branches({"b": None})
    assert not branches.are_news(b=TIP)
    assert branches.are_news(b=OTHER)
    assert not branches.are_news(b=OTHER)
    assert branches.are_news(), "it is gone with what it had"


def test_a_branch_that_another_has_made_is_news() -> None:
    branches = Branches({"b": OTHER})
    assert branches.are_news(b=TIP), "not where provisioning made it"
    assert branches.are_news(b=TIP, other=TIP)
    assert branches.are_news(b=TIP)


def test_a_branch_that_provisioning_sets_anew_is_news_to_whom_it_was_there_before() -> None:
    branches = Branches({})
    assert branches.are_news(b=TIP)
    branches.shared.made["b"] = None
    assert branches.are_news(b=OTHER)


def test_a_remote_branch_is_news() -> None:
    assert Branches({}).are_news(remotes={"origin/main": TIP})


def test_watches_that_come_after_all_others_do_not_take_their_numbers() -> None:
    """Whoever lost its watch, and all siblings theirs, looks again."""
    assert Branches({}).number != Branches({}).number


async def test_the_siblings_are_told_of_news_by_whoever_reads_it() -> None:
    reader, sibling = make_watch(), make_watch()
    shared = SharedRefs(seen={reader: 0, sibling: 0}, made={"b": None})
    shared.note_branches(RefsSnapshot({"main": TIP}, {}, None), reader)
    assert not sibling.has_refs, "the first reading is no change"
    shared.note_branches(RefsSnapshot({"main": TIP, "b": TIP}, {}, None), reader)
    assert not sibling.has_refs, "what provisioning made is no news"
    shared.note_branches(RefsSnapshot({"main": OTHER, "b": TIP}, {}, None), reader)
    assert sibling.has_refs
    assert not reader.has_refs
