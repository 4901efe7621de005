"""What is known about pairs of commits is bounded by number and by size."""

import pytest

from bbhost.domain.status import FileStatus, MergeBaseStatus, WorkspaceFileStatus
from bbhost.workspace import comparisons as module
from bbhost.workspace.comparisons import ComparisonCache


def status_of(files: int) -> MergeBaseStatus:
    file = WorkspaceFileStatus("x", FileStatus.MODIFIED, 1, 1)
    return MergeBaseStatus("main", None, 1, 0, True, (), (file,) * files, 1, 1)


async def ask(cache: ComparisonCache, key: int, files: int = 1) -> bool:
    """Whether it had to be computed."""
    computed = False

    async def compute() -> MergeBaseStatus:
        nonlocal computed
        computed = True
        return status_of(files)

    await cache.get(key, compute)
    return computed


async def test_the_oldest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch):
    """Beyond the number of pairs the oldest is computed again."""
    monkeypatch.setattr(module, "COMPARISONS_KEPT", 2)
    cache = ComparisonCache()
    assert [await ask(cache, key) for key in (1, 2, 1, 3, 2, 3, 1)] == [
        True, True, False, True, False, False, True,
    ]  # fmt: skip


async def test_size_counts_as_well(monkeypatch: pytest.MonkeyPatch):
    """Large pairs push out others, and one that is too large is not kept at all."""
    monkeypatch.setattr(module, "ITEMS_KEPT", 10)
    cache = ComparisonCache()
    await ask(cache, 1, files=6)
    await ask(cache, 2, files=6)
    assert len(cache) == 1
    assert not await ask(cache, 2)
    await ask(cache, 3, files=11)
    assert len(cache) == 0
