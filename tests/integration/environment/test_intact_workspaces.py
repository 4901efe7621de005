"""Whether what is at a path is still the workspace: only to that a teardown goes back."""

import shutil
from pathlib import Path

import pytest

from bbhost.domain.environment import EnvironmentRecord
from bbhost.domain.ids import EnvironmentId
from tests.integration.environment.conftest import Host

ONE = EnvironmentId("env_one")


@pytest.fixture
async def record(host: Host, repo: Path) -> EnvironmentRecord:
    """A managed worktree that is ready."""
    await host.supervisor.provision(ONE, host.spec(ONE, repo))
    actor = host.supervisor.actor(ONE)
    assert actor is not None
    return actor.record


async def test_a_worktree_is(host: Host, record: EnvironmentRecord) -> None:
    assert await host.workspaces.is_intact(record)


@pytest.mark.parametrize("what", ["nothing", "file", "link", "directory"])
async def test_what_came_in_its_place_is_not(
    host: Host, record: EnvironmentRecord, tmp_path: Path, what: str
) -> None:
    path = Path(record.path)
    shutil.copytree(path, tmp_path / "elsewhere")
    shutil.rmtree(path)
    match what:
        case "file":
            path.write_text("x")
        case "link":
            path.symlink_to(tmp_path / "elsewhere")
        case "directory":
            (path / "build").mkdir(parents=True)
    assert not await host.workspaces.is_intact(record)


async def test_one_that_is_in_the_trash_is_not(
    host: Host, record: EnvironmentRecord, tmp_path: Path
) -> None:
    """Even if somebody has put a copy in its place."""
    path = Path(record.path)
    shutil.copytree(path, tmp_path / "copy")
    await host.workspaces.move_to_trash(record)
    (tmp_path / "copy").rename(path)
    assert not await host.workspaces.is_intact(record)
