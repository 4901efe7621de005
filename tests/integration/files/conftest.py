"""Fixtures: a root with something outside it, and both ways to resolve beneath it."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from attrs import define

from bbhost.workspace.files.beneath import Openat2Resolver, Resolver, WalkResolver
from bbhost.workspace.files.service import HostFiles
from bbhost.workspace.files.storage import ThreadStorage
from bbhost.workspace.git import Git

SECRET = b"secret outside the root"


@define
class World:
    """A root to be held to, and secrets beside it."""

    base: Path
    root: Path
    outside: Path

    def write(self, path: str, content: str = "text\n") -> Path:
        """Make a file beneath the root."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file


@define
class SwappingResolver:
    """Lets somebody change the tree between the checks and the opening."""

    inner: Resolver
    swap: Callable[[], None]

    def open(self, root: int, parts: Sequence[str], flags: int, mode: int = 0o666) -> int:
        """Swap, then open."""
        self.swap()
        return self.inner.open(root, parts, flags, mode)


def names_in(directory: Path) -> list[str]:
    """Names of what is in a directory, sorted."""
    return sorted(path.name for path in directory.iterdir())


def open_descriptors() -> int:
    """How many file descriptors this process has open."""
    return len(names_in(Path("/proc/self/fd")))


@pytest.fixture
def world(tmp_path: Path) -> World:
    base = Path(os.path.realpath(tmp_path))
    root, outside = base / "root", base / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "secret").write_bytes(SECRET)
    (base / "root-evil").mkdir()
    (base / "root-evil" / "secret").write_bytes(SECRET)
    return World(base, root, outside)


@pytest.fixture(params=["openat2", "walk"])
def resolver(request: pytest.FixtureRequest) -> Resolver:
    if request.param == "walk":
        return WalkResolver()
    resolver = Openat2Resolver()
    if not resolver.works():
        pytest.skip("this kernel has no openat2")
    return resolver


@pytest.fixture
def storage(world: World) -> ThreadStorage:
    return ThreadStorage(world.base / "data" / "thread-storage")


@pytest.fixture
def files(world: World, resolver: Resolver, storage: ThreadStorage) -> HostFiles:
    return HostFiles(world.base / "data", Git(), storage, resolver)
