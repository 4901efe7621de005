"""A running keeper, and a way to see what is left of a test's processes that shares no code with it."""

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from bbhost.processes.keeper import ProcessKeeper
from bbhost.processes.leaf import find_delegated_tree


@pytest.fixture(params=["subreaper", "cgroup"])
def use_cgroup(request: pytest.FixtureRequest) -> bool:
    """Both backends; tests/system/test_systemd_boundary.py runs this package where a tree is delegated."""
    if request.param == "cgroup" and find_delegated_tree() is None:
        pytest.skip("no cgroup subtree is delegated to this process")
    return request.param == "cgroup"


@pytest.fixture
async def keeper(tmp_path: Path, use_cgroup: bool) -> AsyncIterator[ProcessKeeper]:
    keeper = ProcessKeeper(tmp_path / "data", use_cgroup=use_cgroup)
    async with trio.open_nursery() as services:
        await services.start(keeper.run)
        try:
            yield keeper
        finally:
            with trio.move_on_after(10, shield=True):
                for boundary in keeper.boundaries:
                    await boundary.end(0)
            services.cancel_scope.cancel()


class Token:
    """Marks the command lines of one test's processes."""

    def __init__(self) -> None:
        self.text = f"token{secrets.token_hex(8)}"
        self.pids: set[int] = set()

    def alive(self) -> list[int]:
        """Return the living processes with the token in their arguments, and the noted ones."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal() or int(entry.name) == os.getpid():
                continue
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                arguments = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if stat[0] in "ZX":
                continue
            if self.text.encode() in arguments or int(entry.name) in self.pids:
                found.append(int(entry.name))
        return found


@pytest.fixture
def token() -> Iterator[Token]:
    token = Token()
    yield token
    assert token.alive() == []


async def read_lines(stream: trio.lowlevel.FdStream, count: int) -> list[bytes]:
    """Read ``count`` lines; the test's way to know that a child has come that far."""
    text = b""
    while text.count(b"\n") < count:
        chunk = await stream.receive_some(4096)
        if not chunk:
            raise EOFError(text)
        text += chunk
    return text.splitlines()
