"""The life of environments on a real repository: made, watched, asked, destroyed, gone."""

import gc
from pathlib import Path

import pytest
import trio

from bbhost.contract.session import EnvironmentChange
from bbhost.domain.environment import EnvironmentState as S
from bbhost.domain.ids import EnvironmentId
from bbhost.domain.status import UncommittedDiff, WorkingTreeState
from bbhost.errors import EnvironmentDestroyedError
from tests.integration.environment.conftest import Host, git, open_host

ONE = EnvironmentId("env_one")


def kernel_watches() -> int:
    """How many inotify watches this process holds, as the kernel counts them."""
    count = 0
    for entry in Path("/proc/self/fdinfo").iterdir():
        try:
            text = entry.read_text()
        except OSError:
            continue
        count += text.count("\ninotify ")
    return count


@pytest.mark.slow
async def test_the_whole_life(host: Host, repo: Path) -> None:
    """Provisioned, edited, noticed, asked, destroyed; nothing is left of it."""
    made = await host.supervisor.provision(ONE, host.spec(ONE, repo))
    path = Path(made.discovered.path)
    assert made.discovered.branch_name == "bb/env_one"
    assert (path / "d0" / "f0.txt").read_text() == "0\n"
    await host.certain(ONE)
    assert kernel_watches() > 5

    (path / "d0" / "f0.txt").write_text("changed\n")
    (path / "new.txt").write_text("new\n")
    await host.wait_posts(1)
    assert host.posts[0] == (ONE, EnvironmentChange.WORK_STATUS)
    handle = await host.supervisor.enter(ONE, host.context(ONE, repo))
    status = await handle.status("main")
    assert status.working_tree.state is WorkingTreeState.DIRTY
    assert {file.path for file in status.working_tree.files} == {"d0/f0.txt", "new.txt"}
    diff = await handle.diff(UncommittedDiff(), 100_000, 10_000)
    assert "+changed" in diff.diff
    assert "A\tnew.txt" in diff.files

    await host.supervisor.destroy(ONE, host.context(ONE, repo))
    assert not path.exists()
    assert not path.parent.exists()
    assert kernel_watches() == 0
    assert str(path) not in git("worktree", "list", "--porcelain", cwd=repo)
    assert "bb/env_one" in git("branch", "--list", "bb/*", cwd=repo)
    assert "refs/bbhost/rescue/env_one/1/worktree" in git("for-each-ref", cwd=repo)
    before = host.tools.git.statistics().total
    for _ in range(5):
        with pytest.raises(EnvironmentDestroyedError):
            await host.supervisor.enter(ONE, host.context(ONE, repo))
    assert host.tools.git.statistics().total == before
    assert kernel_watches() == 0


@pytest.mark.slow
async def test_a_life_leaves_next_to_nothing_to_the_collector(host: Host, repo: Path) -> None:
    """What only the collector frees, it frees so seldom that the daemon would grow by megabytes."""

    async def live(number: int) -> None:
        one = EnvironmentId(f"env_{number}")
        await host.supervisor.provision(one, host.spec(one, repo))
        await host.certain(one)
        handle = await host.supervisor.enter(one, host.context(one, repo))
        await handle.status(None)
        del handle
        await host.supervisor.destroy(one, host.context(one, repo))

    await live(0)
    gc.collect()
    gc.disable()
    try:
        for number in range(1, 5):
            await live(number)
        await trio.testing.wait_all_tasks_blocked(0.2)
        assert gc.collect() / 4 < 120, "two transitions of each machine are the library's"
    finally:
        gc.enable()


@pytest.mark.slow
async def test_status_of_an_unchanged_worktree_runs_no_git(host: Host, repo: Path) -> None:
    """Fifty polls, no process; one edit, at most three."""
    made = await host.supervisor.provision(ONE, host.spec(ONE, repo))
    await host.certain(ONE)
    handle = await host.supervisor.enter(ONE, host.context(ONE, repo))
    await handle.status(None)
    await handle.status("main")
    before = host.tools.git.statistics().total
    for _ in range(50):
        await handle.status(None)
        await handle.status("main")
    assert host.tools.git.statistics().total == before
    Path(made.discovered.path, "d1", "f1.txt").write_text("other\n")
    status = await handle.status(None)
    assert status.working_tree.has_uncommitted_changes
    assert host.tools.git.statistics().total - before <= 3


@pytest.mark.slow
async def test_one_commit_among_siblings_costs_each_of_them_nothing(
    host: Host, repo: Path
) -> None:
    """Refs are read once per repository, however many worktrees share them."""
    ids = [EnvironmentId(f"env_{number}") for number in range(12)]
    for environment_id in ids:
        await host.supervisor.provision(environment_id, host.spec(environment_id, repo))
    for environment_id in ids:
        await host.certain(environment_id)
    await trio.testing.wait_all_tasks_blocked(0.3)
    posts, before = len(host.posts), host.tools.git.statistics().total
    path = Path(host.spec(ids[0], repo).target_path)
    (path / "d0" / "f0.txt").write_text("committed\n")
    git("commit", "-qam", "one", cwd=path)
    refs = {(environment_id, EnvironmentChange.GIT_REFS) for environment_id in ids}
    with trio.fail_after(10):
        await host.posted.wait_value(lambda _count: refs <= set(host.posts[posts:]))
    assert host.tools.git.statistics().total - before <= 5


@pytest.mark.slow
async def test_after_a_restart_environments_are_watched_before_anybody_asks(
    tmp_path: Path, repo: Path
) -> None:
    """What the journal says was ready is watched again by itself."""
    async with open_host(tmp_path / "data") as host:
        made = await host.supervisor.provision(ONE, host.spec(ONE, repo))
        await host.certain(ONE)
    async with open_host(tmp_path / "data") as host:
        await host.certain(ONE)
        Path(made.discovered.path, "d0", "f0.txt").write_text("after the restart\n")
        await host.wait_posts(1)
        assert host.posts[0] == (ONE, EnvironmentChange.WORK_STATUS)


@pytest.mark.slow
async def test_edits_to_untracked_files_and_with_equal_line_counts_are_told(
    host: Host, repo: Path
) -> None:
    """The status stays equal, the content does not; whoever looks at a diff must be told."""
    made = await host.supervisor.provision(ONE, host.spec(ONE, repo))
    path = Path(made.discovered.path)
    await host.certain(ONE)
    (path / "new.txt").write_text("first\n")
    (path / "d0" / "f0.txt").write_text("first\n")
    await host.wait_posts(1)
    await trio.testing.wait_all_tasks_blocked(0.6)
    posts = len(host.posts)
    (path / "new.txt").write_text("other\n")
    await host.wait_posts(posts + 1)
    await trio.testing.wait_all_tasks_blocked(0.6)
    posts = len(host.posts)
    (path / "d0" / "f0.txt").write_text("other\n")
    await host.wait_posts(posts + 1)


@pytest.mark.slow
async def test_ignored_directories_are_not_watched(host: Host, repo: Path) -> None:
    """A big node_modules costs no watch, whenever it is made."""
    made = await host.supervisor.provision(ONE, host.spec(ONE, repo))
    path = Path(made.discovered.path)
    await host.certain(ONE)
    before = kernel_watches()
    for number in range(300):
        (path / "node_modules" / f"p{number}" / "lib").mkdir(parents=True)
    (path / "seen").mkdir()
    (path / "seen" / "file").write_text("x")
    await host.wait_posts(1)
    await trio.testing.wait_all_tasks_blocked(0.3)
    assert kernel_watches() == before + 1


async def test_a_personal_directory_is_not_recreated_by_a_status(host: Host) -> None:
    """A command on a destroyed personal environment makes nothing."""
    from bbhost.domain.workspace import PersonalSpec, WorkspaceContext, WorkspaceKind

    path = host.data_dir / "personal-workspaces" / ONE
    await host.supervisor.provision(ONE, PersonalSpec(str(path)))
    assert path.is_dir()
    context = WorkspaceContext(str(path), WorkspaceKind.PERSONAL)
    await host.supervisor.destroy(ONE, context)
    assert not path.exists()
    with pytest.raises(EnvironmentDestroyedError):
        await host.supervisor.enter(ONE, context)
    assert not path.exists()


@pytest.mark.slow
async def test_a_failed_setup_script_leaves_nothing(host: Host, repo: Path) -> None:
    """Worktree, registration and empty parent are gone; the branch stays."""
    (repo / ".bb-env-setup.sh").write_text("echo trying; mkdir made; exit 9\n")
    git("add", "-A", cwd=repo)
    git("commit", "-qm", "setup", cwd=repo)
    from bbhost.errors import BbhostError

    with pytest.raises(BbhostError) as caught:
        await host.supervisor.provision(ONE, host.spec(ONE, repo))
    assert caught.value.code == "setup_script_failed"
    assert not Path(host.spec(ONE, repo).target_path).parent.exists()
    assert "env_one" not in git("worktree", "list", cwd=repo)
    assert "bb/env_one" in git("branch", "--list", "bb/*", cwd=repo)
    view = host.supervisor.view(ONE)
    assert view is not None
    assert view.state is S.TOMBSTONED
