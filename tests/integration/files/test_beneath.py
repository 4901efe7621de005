"""Resolving beneath a root: both resolvers give the same answers, whatever is swapped."""

import errno
import os
import threading
from pathlib import Path

import pytest

from bbhost.errors import FileMissingError, InvalidPathError
from bbhost.workspace.files.beneath import DIRECTORY, Resolver, make_directories
from bbhost.workspace.files.reading import read_file, read_file_relative
from tests.integration.files.conftest import SECRET, SwappingResolver, World, open_descriptors

LIMIT = 1_000_000


def opened(resolver: Resolver, root: Path, *parts: str, flags: int = os.O_RDONLY) -> bytes:
    directory = os.open(root, DIRECTORY)
    try:
        file = resolver.open(directory, parts, flags)
        try:
            return os.read(file, 100)
        finally:
            os.close(file)
    finally:
        os.close(directory)


def test_a_plain_file_is_opened(resolver: Resolver, world: World) -> None:
    world.write("a/b/c.txt", "hello")
    assert opened(resolver, world.root, "a", "b", "c.txt") == b"hello"


@pytest.mark.parametrize("part", ["..", ".", "", "a/b", "../outside", "/etc", "nul\0byte"])
def test_what_is_no_plain_name_never_reaches_the_system(
    resolver: Resolver, world: World, part: str
) -> None:
    with pytest.raises(OSError) as caught:
        opened(resolver, world.root, part, "secret")
    assert caught.value.errno == errno.EXDEV


@pytest.mark.parametrize("target", ["inside", "../outside", "/etc", "/proc/self/root"])
def test_a_link_to_a_directory_is_refused_wherever_it_leads(
    resolver: Resolver, world: World, target: str
) -> None:
    world.write("inside/secret")
    (world.root / "link").symlink_to(target)
    for flags in (os.O_RDONLY, DIRECTORY):
        for parts in (("link", "secret"), ("link",)):
            with pytest.raises(OSError) as caught:
                opened(resolver, world.root, *parts, flags=flags)
            assert caught.value.errno == errno.ELOOP


def test_a_link_to_a_file_is_refused(resolver: Resolver, world: World) -> None:
    (world.root / "leaf").symlink_to("../outside/secret")
    (world.root / "dangling").symlink_to("nowhere")
    for name in ("leaf", "dangling"):
        with pytest.raises(OSError) as caught:
            opened(resolver, world.root, name)
        assert caught.value.errno == errno.ELOOP


def test_missing_and_wrong_kinds_have_the_same_errors(resolver: Resolver, world: World) -> None:
    world.write("file")
    for parts, expected in (
        (("missing",), errno.ENOENT),
        (("missing", "below"), errno.ENOENT),
        (("file", "below"), errno.ENOTDIR),
    ):
        with pytest.raises(OSError) as caught:
            opened(resolver, world.root, *parts)
        assert caught.value.errno == expected


def test_no_descriptor_is_left_open(resolver: Resolver, world: World) -> None:
    world.write("a/b/file")
    (world.root / "link").symlink_to("a")
    before = open_descriptors()
    opened(resolver, world.root, "a", "b", "file")
    for parts in (("a", "b", "no"), ("link", "b"), ("a", "b", "file", "x"), ("..",)):
        with pytest.raises(OSError):
            opened(resolver, world.root, *parts)
    assert open_descriptors() == before


def test_making_directories_stops_at_a_link(world: World) -> None:
    (world.root / "link").symlink_to(world.outside)
    root = os.open(world.root, DIRECTORY)
    try:
        os.close(make_directories(root, ["a", "b"]))
        os.close(make_directories(root, ["a", "b"]))
        with pytest.raises(OSError) as caught:
            make_directories(root, ["link", "new"])
    finally:
        os.close(root)
    assert caught.value.errno == errno.ELOOP
    assert (world.root / "a" / "b").is_dir()
    assert not (world.outside / "new").exists()


def test_a_parent_swapped_for_a_link_after_the_check_is_not_followed(
    resolver: Resolver, world: World
) -> None:
    """The check sees a directory; when the file is opened it is a link out of the root."""
    world.write("dir/secret", "mine")

    def swap() -> None:
        (world.root / "dir").rename(world.root / "old")
        (world.root / "dir").symlink_to(world.outside)

    with pytest.raises(InvalidPathError):
        read_file(
            SwappingResolver(resolver, swap),
            str(world.root / "dir/secret"),
            str(world.root),
            LIMIT,
        )


def test_a_file_swapped_for_a_link_after_the_check_is_not_followed(
    resolver: Resolver, world: World
) -> None:
    file = world.write("file", "mine")

    def swap() -> None:
        file.unlink()
        file.symlink_to(world.outside / "secret")

    with pytest.raises(InvalidPathError):
        read_file_relative(
            SwappingResolver(resolver, swap), str(world.root), "file", dotfiles=True, limit=LIMIT
        )


def test_a_root_swapped_for_a_link_after_the_check_is_not_followed(
    resolver: Resolver, world: World
) -> None:
    world.write("secret", "mine")

    def swap() -> None:
        world.root.rename(world.base / "moved")
        world.root.symlink_to(world.outside)

    found = read_file(
        SwappingResolver(resolver, swap), str(world.root / "secret"), str(world.root), LIMIT
    )
    assert found.data == b"mine"


@pytest.mark.slow
def test_a_race_never_gives_out_what_is_outside(resolver: Resolver, world: World) -> None:
    """A thread swaps a directory and a link for each other while the file is read."""
    world.write("dir/secret", "mine")
    (world.root / "link").symlink_to(world.outside)
    stop = threading.Event()

    def swap() -> None:
        here, there = world.root / "dir", world.root / "link"
        spare = world.root / "spare"
        while not stop.is_set():
            here.rename(spare)
            there.rename(here)
            spare.rename(there)

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen = {b"mine": 0, b"refused": 0}
    try:
        for _ in range(1500):
            try:
                found = read_file_relative(
                    resolver, str(world.root), "dir/secret", dotfiles=True, limit=LIMIT
                )
            except (InvalidPathError, FileMissingError):
                seen[b"refused"] += 1
            else:
                assert found.data != SECRET
                seen[found.data] += 1
    finally:
        stop.set()
        swapper.join()
    assert seen[b"mine"] > 0
    assert seen[b"refused"] > 0
