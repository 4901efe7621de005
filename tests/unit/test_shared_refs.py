"""What the watches of one repository take for news of its branches."""

from bbhost.environment.shared_refs import SharedRefs
from bbhost.watch import WatchTarget
from bbhost.watch.debounce import Debounce
from bbhost.watch.watch import Watch
from bbhost.workspace.refs import ExpectedBranch, RefsSnapshot

TIP, OTHER = "1" * 40, "2" * 40


def make_watch() -> Watch:
    return Watch(WatchTarget("/nowhere"), None, Debounce(0.075, 0.5), lambda _watch: None)


A_WATCH = make_watch()


class Branches:
    """A repository's branches, read by one watch whenever they have changed."""

    def __init__(self) -> None:
        self.shared = SharedRefs()
        self.expected: dict[str, ExpectedBranch] = {}
        self.number = self.read(RefsSnapshot({"main": TIP}, {}, None), A_WATCH)

    def read(self, snapshot: RefsSnapshot, reader: Watch) -> int:
        return self.shared.note_branches(snapshot, self.expected, reader)

    def are_news(
        self, remotes: dict[str, str] | None = None, head: str | None = None, **heads: str
    ) -> bool:
        """Whether it is worth telling that they are these now."""
        before = self.number
        snapshot = RefsSnapshot({"main": TIP, **heads}, remotes or {}, head)
        self.number = self.read(snapshot, A_WATCH)
        assert self.read(snapshot, make_watch()) == self.number, "read by a sibling"
        return self.number != before


def test_what_provisioning_sets_is_no_news_and_then_forgotten() -> None:
    """A repository that is watched for weeks does not remember every branch it ever had."""
    branches = Branches()
    branches.expected["b"] = ExpectedBranch(TIP)
    assert not branches.are_news()
    assert "b" in branches.expected, "it is about to be made"
    assert not branches.are_news(b=TIP)
    assert branches.expected == {}
    assert branches.are_news(), "somebody deleted it"
    assert branches.are_news(b=TIP), "nobody here made this one"


def test_a_branch_that_moves_is_news() -> None:
    branches = Branches()
    branches.expected["b"] = ExpectedBranch(TIP, ended=True)
    assert not branches.are_news(b=TIP)
    assert branches.are_news(b=OTHER)
    assert not branches.are_news(b=OTHER)
    assert branches.are_news(b=TIP), "back where it was made"


def test_a_branch_that_provisioning_sets_anew_is_no_news() -> None:
    """The same environment once more: told to all siblings, that would be N times N posts."""
    branches = Branches()
    assert branches.are_news(b=OTHER)
    branches.expected["b"] = ExpectedBranch(TIP)
    assert not branches.are_news(b=OTHER)
    assert not branches.are_news(b=TIP)
    assert branches.expected == {}


def test_a_branch_that_provisioning_continues_is_news_as_soon_as_it_moves() -> None:
    branches = Branches()
    assert branches.are_news(b=TIP)
    branches.expected["b"] = ExpectedBranch(TIP)
    assert not branches.are_news(b=TIP)
    assert branches.expected == {}
    assert branches.are_news(b=OTHER)


def test_a_branch_that_is_not_where_provisioning_set_it_is_news() -> None:
    """The first look came after the first commit."""
    branches = Branches()
    branches.expected["b"] = ExpectedBranch(TIP, ended=True)
    assert branches.are_news(b=OTHER)
    assert branches.expected == {}
    assert branches.are_news(b=TIP)


def test_another_branch_is_news_while_one_is_being_made() -> None:
    branches = Branches()
    branches.expected["b"] = ExpectedBranch(TIP)
    assert branches.are_news(c=TIP)
    assert branches.are_news(b=TIP)


def test_the_default_branch_of_the_remote_is_news() -> None:
    assert Branches().are_news(head="trunk")


def test_a_remote_branch_is_news() -> None:
    assert Branches().are_news(remotes={"origin/main": TIP})


def test_watches_that_come_after_all_others_do_not_take_their_numbers() -> None:
    """Whoever lost its watch, and all siblings theirs, looks again."""
    assert Branches().number != Branches().number


async def test_the_siblings_are_told_of_news_by_whoever_reads_it() -> None:
    reader, sibling = make_watch(), make_watch()
    shared = SharedRefs(seen={reader: 0, sibling: 0})
    expected = {"b": ExpectedBranch(TIP)}
    shared.note_branches(RefsSnapshot({"main": TIP}, {}, None), expected, reader)
    assert not sibling.has_refs, "the first reading is no change"
    shared.note_branches(RefsSnapshot({"main": TIP, "b": TIP}, {}, None), expected, reader)
    assert not sibling.has_refs, "what provisioning made is no news"
    shared.note_branches(RefsSnapshot({"main": OTHER, "b": TIP}, {}, None), expected, reader)
    assert sibling.has_refs
    assert not reader.has_refs
