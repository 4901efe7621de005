"""Tombstones are forgotten when they are of no use any more, and not before."""

from pathlib import Path

import pytest

from bbhost.daemon.assembly import Parts
from bbhost.daemon.tombstones import KEEP_MS, forget_old_tombstones
from bbhost.domain.ids import EnvironmentId
from bbhost.domain.workspace import UnmanagedSpec, WorkspaceContext, WorkspaceKind
from bbhost.errors import EnvironmentDestroyedError, PathNotFoundError
from bbhost.session.clock import wall_clock_ms
from bbhost.workspace.rescue_list import drop_rescue, find_rescue
from tests.integration.maintenance.helpers import destroy, provision, retire

pytestmark = pytest.mark.slow


async def forget(parts: Parts, *, later_ms: int = KEEP_MS + 60_000) -> int:
    """Look as if it were so much later."""
    return await forget_old_tombstones(parts.supervisor, parts.tools, wall_clock_ms() + later_ms)


async def known(parts: Parts) -> list[str]:
    """The ids on record, which are the same in memory and in the journal."""
    journalled = sorted(one.environment_id for one in await parts.journal.environments())
    assert journalled == sorted(one.environment_id for one in parts.supervisor.records())
    return journalled


async def test_only_what_was_destroyed_long_ago_is_forgotten(parts: Parts, repo: Path) -> None:
    """Not the live, the retired, the user's own, nor what was destroyed of late."""
    gone = await provision(parts, "env_gone", repo)
    await provision(parts, "env_live", repo)
    await provision(parts, "env_retired", repo)
    own = EnvironmentId("env_own")
    await parts.supervisor.provision(own, UnmanagedSpec(str(repo)))
    await destroy(parts, "env_gone", gone)
    await retire(parts, "env_retired")
    await parts.supervisor.destroy(own, WorkspaceContext(str(repo), WorkspaceKind.UNMANAGED))
    everyone = ["env_gone", "env_live", "env_own", "env_retired"]
    assert await forget(parts, later_ms=KEEP_MS - 60_000) == 0
    assert await known(parts) == everyone
    assert await forget(parts) == 1
    assert await known(parts) == everyone[1:]
    assert await forget(parts) == 0


async def test_what_comes_late_brings_nothing_back(parts: Parts, repo: Path) -> None:
    """A status finds no path, a destroy touches nothing and leaves a tombstone again."""
    path = await provision(parts, "env_one", repo)
    await destroy(parts, "env_one", path)
    assert await forget(parts) == 1
    context = WorkspaceContext(str(path), WorkspaceKind.MANAGED_WORKTREE)
    with pytest.raises(PathNotFoundError):
        await parts.supervisor.enter(EnvironmentId("env_one"), context)
    assert await known(parts) == []
    await destroy(parts, "env_one", path)
    assert await known(parts) == ["env_one"]
    with pytest.raises(EnvironmentDestroyedError):
        await parts.supervisor.enter(EnvironmentId("env_one"), context)


async def test_a_workspace_that_is_there_again_keeps_its_tombstone(
    parts: Parts, repo: Path
) -> None:
    """Nothing else would keep a late command from attaching it."""
    path = await provision(parts, "env_one", repo)
    await destroy(parts, "env_one", path)
    path.mkdir(parents=True)
    assert await forget(parts) == 0
    assert await known(parts) == ["env_one"]


async def test_rescued_work_keeps_its_tombstone(parts: Parts, repo: Path) -> None:
    """It is found through it; and while its repository cannot be read, there may be some."""
    path = await provision(parts, "env_one", repo)
    (path / "unsaved.txt").write_text("work\n")
    await destroy(parts, "env_one", path)
    assert await forget(parts) == 0
    away = repo.with_name("away")
    await drop_rescue(parts.git, await find_rescue(parts.git, repo, "env_one"))
    repo.rename(away)
    assert await forget(parts) == 0
    away.rename(repo)
    assert await forget(parts) == 1
    assert await known(parts) == []
