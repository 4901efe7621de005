"""Kernel watches and the nodes that hold them, with a kernel that only counts."""

import random
import sys

import pytest
from attrs import define, field

from bbhost.watch.table import Node, WatchTable


@define
class CountingKernel:
    """Knows which numbers are alive."""

    alive: set[int] = field(factory=set)

    def remove(self, wd: int) -> bool:
        alive = wd in self.alive
        self.alive.discard(wd)
        return alive


@pytest.fixture
def kernel() -> CountingKernel:
    return CountingKernel()


@pytest.fixture
def table(kernel) -> WatchTable:
    return WatchTable(kernel)


def enter(table, kernel, wd, parent=None, name="") -> Node:
    kernel.alive.add(wd)
    node = Node(None, parent, name, wd)
    assert table.enter(node)
    return node


def test_paths_and_finding(table, kernel) -> None:
    root = enter(table, kernel, 1)
    a = enter(table, kernel, 2, root, "a")
    b = enter(table, kernel, 3, a, "b")
    assert (root.path, a.path, b.path) == ("", "a", "a/b")
    assert root.find("a/b") is b
    assert root.find("a/c") is None
    assert root.find("") is root


def test_forgetting_a_node_ends_the_watches_below_it(table, kernel) -> None:
    root = enter(table, kernel, 1)
    a = enter(table, kernel, 2, root, "a")
    enter(table, kernel, 3, a, "b")
    table.forget(a)
    assert kernel.alive == {1}
    assert len(table) == 1
    assert root.children is None


def test_a_watch_lives_as_long_as_one_node_holds_it(table, kernel) -> None:
    first, second = enter(table, kernel, 1), enter(table, kernel, 1)
    third = enter(table, kernel, 1)
    assert list(table.at(1)) == [first, second, third]
    table.forget(first)
    table.forget(third)
    assert kernel.alive == {1}
    assert list(table.at(1)) == [second]
    table.forget(second)
    assert kernel.alive == set()


def test_a_node_takes_the_place_of_another_of_the_same_name(table, kernel) -> None:
    root = enter(table, kernel, 1)
    old = enter(table, kernel, 2, root, "a")
    enter(table, kernel, 3, old, "inner")
    new = enter(table, kernel, 4, root, "a")
    assert root.find("a") is new
    assert kernel.alive == {1, 4}
    same = enter(table, kernel, 4, root, "a")
    assert list(table.at(4)) == [same]


def test_a_watch_that_ended_while_it_was_being_added_is_refused(table, kernel) -> None:
    root = enter(table, kernel, 1)
    with table.additions():
        assert table.removed(2)
        assert not table.enter(Node(None, root, "a", 2))
    assert root.children is None
    enter(table, kernel, 2, root, "a")


def test_a_watch_we_ended_while_another_thread_added_it_is_refused(table, kernel) -> None:
    root = enter(table, kernel, 1)
    a = enter(table, kernel, 2, root, "a")
    with table.additions():
        table.forget(a)
        assert not table.enter(Node(None, root, "b", 2))


def test_a_child_of_a_forgotten_node_is_refused_and_its_watch_ends(table, kernel) -> None:
    root = enter(table, kernel, 1)
    a = enter(table, kernel, 2, root, "a")
    table.forget(a)
    kernel.alive.add(3)
    assert not table.enter(Node(None, a, "b", 3))
    assert kernel.alive == {1}


def test_the_farewell_of_a_watch_we_ended_is_not_for_its_successor(table, kernel) -> None:
    table.forget(enter(table, kernel, 1))
    again = enter(table, kernel, 1)
    assert not table.removed(1)
    assert list(table.at(1)) == [again]
    assert table.removed(1)


def test_after_an_overflow_no_farewell_is_expected(table, kernel) -> None:
    table.forget(enter(table, kernel, 1))
    table.overflowed()
    assert table.removed(1)


@pytest.mark.parametrize("seed", range(30))
def test_a_kernel_watch_exists_exactly_while_a_node_holds_it(table, kernel, seed) -> None:
    rng = random.Random(seed)
    root = enter(table, kernel, 0)
    held = [root]
    for _ in range(300):
        if rng.random() < 0.6:
            parent = rng.choice(held)
            held.append(enter(table, kernel, rng.randrange(1, 40), parent, rng.choice("abcd")))
        elif len(held) > 1:
            table.forget(rng.choice(held[1:]))
        held = [node for node in held if node.wd >= 0]
        assert {id(node) for node in root.subtree()} == {id(node) for node in held}
        assert kernel.alive == {node.wd for node in held}
        assert len(table) == len(kernel.alive)


def test_the_table_gives_back_the_room_of_better_days(table, kernel) -> None:
    """Deletion alone leaves a dict as large as it ever was."""
    root = enter(table, kernel, 0)
    stays = enter(table, kernel, 1, root, "stays")
    many = [enter(table, kernel, wd, root, f"d{wd}") for wd in range(2, 10_000)]
    full = sys.getsizeof(table._nodes)
    for node in many:
        table.forget(node)
    assert sys.getsizeof(table._nodes) < full / 10
    assert list(table.at(1)) == [stays]
    assert len(table) == 2
