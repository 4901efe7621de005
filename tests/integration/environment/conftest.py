"""Owners of environments over real git, real files, real watches and real processes."""

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from attrs import define, field

from bbhost.contract.session import EnvironmentChange
from bbhost.domain.environment import EnvironmentRecord, EnvironmentState
from bbhost.domain.ids import EnvironmentId
from bbhost.domain.workspace import ManagedWorktreeSpec, WorkspaceContext, WorkspaceKind
from bbhost.environment.ports import EnvironmentServices
from bbhost.environment.supervisor import Supervisor
from bbhost.environment.workspaces import GitWorkspaces
from bbhost.journal.journal import Journal, open_journal
from bbhost.processes.keeper import ProcessKeeper
from bbhost.toolkit.value import AsyncValue
from bbhost.watch.service import WatchService, make_watch_service
from bbhost.watch.values import WatchSettings
from bbhost.workspace.tools import WorkspaceTools, make_tools
from bbhost.workspace.transcript import wall_clock_ms
from bbhost.workspace.trash_emptier import TrashEmptier


def git(*args: str, cwd: Path) -> str:
    """Run the user's own git."""
    identity = ["-c", "user.name=dev", "-c", "user.email=dev@example.invalid"]
    done = subprocess.run(
        ["git", *identity, *args], cwd=cwd, check=True, capture_output=True, text=True
    )
    return done.stdout


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with 50 files in 5 directories and an ignore rule."""
    path = tmp_path / "src" / "demo"
    path.mkdir(parents=True)
    git("init", "-q", "-b", "main", cwd=path)
    for number in range(50):
        file = path / f"d{number % 5}" / f"f{number}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{number}\n")
    (path / ".gitignore").write_text("node_modules/\n*.log\n")
    git("add", "-A", cwd=path)
    git("commit", "-qm", "initial", cwd=path)
    return path


@define(eq=False)
class Host:
    """Everything an owner needs, for real."""

    data_dir: Path
    journal: Journal
    tools: WorkspaceTools
    watches: WatchService
    keeper: ProcessKeeper
    supervisor: Supervisor
    workspaces: GitWorkspaces
    posts: list[tuple[EnvironmentId, EnvironmentChange]]
    posted: AsyncValue[int] = field(factory=lambda: AsyncValue(0))

    def spec(self, environment_id: str, repo: Path) -> ManagedWorktreeSpec:
        """A managed worktree of ``repo``."""
        target = self.data_dir / "worktrees" / environment_id / repo.name
        return ManagedWorktreeSpec(str(repo), str(target), f"bb/{environment_id}", None, 60_000)

    def context(self, environment_id: str, repo: Path) -> WorkspaceContext:
        """The context of that worktree."""
        path = self.spec(environment_id, repo).target_path
        return WorkspaceContext(path, WorkspaceKind.MANAGED_WORKTREE)

    async def wait_posts(self, count: int) -> None:
        """Wait until so many changes have been noted."""
        with trio.fail_after(10):
            await self.posted.wait_value(lambda posted: posted >= count)

    async def certain(self, environment_id: EnvironmentId) -> None:
        """Wait until the environment's baseline is known."""
        actor = self.supervisor.actor(environment_id)
        assert actor is not None
        with trio.fail_after(10):
            await actor.view.wait_value(lambda view: view.state is EnvironmentState.READY)
            assert actor.ready_work is not None
            await actor.ready_work.baseline.wait()


@asynccontextmanager
async def open_host(
    data_dir: Path, watch_settings: WatchSettings | None = None
) -> AsyncIterator[Host]:
    """A host without a server."""
    data_dir.mkdir(parents=True, exist_ok=True)
    posts: list[tuple[EnvironmentId, EnvironmentChange]] = []
    posted = AsyncValue(0)

    def note_change(environment_id: EnvironmentId, kind: EnvironmentChange) -> None:
        posts.append((environment_id, kind))
        posted.value = len(posts)

    async with (
        open_journal(data_dir / "journal.sqlite") as journal,
        trio.open_nursery() as nursery,
    ):
        tools = make_tools(data_dir)
        watches = make_watch_service("auto", watch_settings)
        keeper = ProcessKeeper(data_dir)
        emptier = TrashEmptier(tools.trash)
        workspaces = GitWorkspaces(tools, watches, emptier)
        services = EnvironmentServices(
            journal=journal,
            workspaces=workspaces,
            open_boundary=keeper.open_boundary,
            note_change=note_change,
            note_idle=lambda _environment_id: None,
            now_ms=wall_clock_ms,
        )
        supervisor = Supervisor(services)
        await nursery.start(watches.run)
        await nursery.start(keeper.run)
        nursery.start_soon(emptier.run)
        owners = await nursery.start(_run_supervisor, supervisor)
        records: list[EnvironmentRecord] = await journal.environments()
        await supervisor.restore(records)
        try:
            yield Host(
                data_dir, journal, tools, watches, keeper, supervisor, workspaces, posts, posted
            )
        finally:
            owners.cancel()
            nursery.cancel_scope.cancel()


async def _run_supervisor(
    supervisor: Supervisor, task_status: trio.TaskStatus[trio.CancelScope]
) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            task_status.started(scope)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    """A running host."""
    async with open_host(tmp_path / "data") as host:
        yield host


@pytest.fixture(autouse=True)
def quiet_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The developer's own git configuration has no say in the tests."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
