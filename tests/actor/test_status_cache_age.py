"""How old a remembered status may be: bounded where somebody asks, not where answers are compared."""

from typing import Any, cast

import trio
from trio.testing import MockClock

from bbhost.domain.status import (
    BranchStatus,
    WorkingTreeState,
    WorkingTreeStatus,
    WorkspaceStatus,
)
from bbhost.environment.status_cache import (
    MAX_AGE_SECONDS,
    StatusCache,
    StatusCacheStatistics,
)
from bbhost.workspace.refs import RefsSnapshot
from bbhost.workspace.status import StatusReading


class QuietWatch:
    """Nothing ever happens here but to the refs."""

    is_certain = True
    work_marks = 1

    def __init__(self) -> None:
        self.refs = RefsSnapshot({"main": "a", "own": "a", "sibling": "a"}, {}, None)

    def drain_nowait(self) -> None:
        pass

    async def read_refs(self) -> RefsSnapshot:
        await trio.lowlevel.checkpoint()
        return self.refs


async def test_an_old_answer_is_computed_again_only_where_it_is_asked_for(
    mock_clock: MockClock,
) -> None:
    """A commit in a sibling compares the answers of all; at rest for long, they still cost no git."""
    computed = 0

    async def compute(base: str | None) -> StatusReading:
        nonlocal computed
        computed += 1
        await trio.lowlevel.checkpoint()
        tree = WorkingTreeStatus(False, WorkingTreeState.CLEAN, 0, 0, ())
        return StatusReading(WorkspaceStatus(tree, BranchStatus("own", "main"), None), "f", None)

    watch = QuietWatch()
    cache = StatusCache(compute, StatusCacheStatistics())
    cache.attach(cast("Any", watch))
    await cache.read()
    mock_clock.jump(MAX_AGE_SECONDS + 1)
    watch.refs = RefsSnapshot({"main": "a", "own": "a", "sibling": "b"}, {}, None)
    await cache.read(at_any_age=True)
    assert computed == 1
    await cache.read()
    assert computed == 2
    # Its own branch moved: age has nothing to do with it.
    watch.refs = RefsSnapshot({"main": "a", "own": "b", "sibling": "b"}, {}, None)
    await cache.read(at_any_age=True)
    assert computed == 3
