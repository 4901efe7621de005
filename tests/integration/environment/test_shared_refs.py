"""One owner reads the refs for all worktrees of a repository: whoever comes or goes, all are told."""

import random
from pathlib import Path

import pytest
import trio

from bbhost.contract.session import EnvironmentChange
from bbhost.domain.ids import EnvironmentId
from bbhost.errors import GitCommandError
from bbhost.workspace.git import Git, GitResult
from tests.integration.environment.conftest import Host, git

IDS = [EnvironmentId(f"env_{number}") for number in range(6)]


async def make(host: Host, repo: Path, environment_id: EnvironmentId) -> None:
    await host.supervisor.provision(environment_id, host.spec(environment_id, repo))
    await host.certain(environment_id)


async def wait_told(host: Host, since: int, wanted: set[EnvironmentId]) -> None:
    def told(_count: int) -> bool:
        news = {one for one, kind in host.posts[since:] if kind is EnvironmentChange.GIT_REFS}
        return wanted <= news

    with trio.fail_after(20):
        await host.posted.wait_value(told)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_all_that_live_are_told_while_others_come_and_go(
    host: Host, repo: Path, seed: int
) -> None:
    chance = random.Random(seed)
    live: set[EnvironmentId] = set()
    for environment_id in IDS[:4]:
        await make(host, repo, environment_id)
        live.add(environment_id)
    for number in range(25):
        stays = set(live)
        since = len(host.posts)
        async with trio.open_nursery() as nursery:
            if chance.randrange(2):
                # The one who is first is the one who reads.
                going = min(live) if chance.randrange(2) else chance.choice(sorted(live))
                stays.discard(going)
                nursery.start_soon(host.supervisor.destroy, going, host.context(going, repo))
                await trio.sleep(chance.choice([0, 0.02, 0.07, 0.1]))
            await trio.to_thread.run_sync(lambda n=number: git("branch", f"b{n}", cwd=repo))
            if chance.randrange(3) == 0:
                await trio.sleep(0.08)
                await trio.to_thread.run_sync(lambda n=number: git("tag", f"t{n}", cwd=repo))
        gone = live - stays
        live = stays
        await wait_told(host, since, live)
        for environment_id in gone:
            await make(host, repo, environment_id)
            live.add(environment_id)


@pytest.mark.slow
async def test_an_owner_that_fails_to_read_leaves_it_to_another(
    host: Host, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its watch ends and is opened anew; nobody else may miss the change for that."""
    for environment_id in IDS[:3]:
        await make(host, repo, environment_id)
    run, failures = Git.run, 2

    async def fail_at_first(self: Git, *args: str, **options: object) -> GitResult:
        nonlocal failures
        if args[0] == "for-each-ref" and failures:
            failures -= 1
            raise GitCommandError("no")
        return await run(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Git, "run", fail_at_first)
    since = len(host.posts)
    git("branch", "another", cwd=repo)
    await wait_told(host, since, set(IDS[1:3]))
    assert not failures


@pytest.mark.slow
async def test_a_status_that_depends_on_a_ref_is_told(host: Host, repo: Path) -> None:
    """The branch of one worktree is moved from another place: its own status is another one."""
    for environment_id in IDS[:3]:
        await make(host, repo, environment_id)
    (repo / "more.txt").write_text("more\n")
    git("add", "-A", cwd=repo)
    git("commit", "-qm", "more", cwd=repo)
    await wait_told(host, 0, set(IDS[:3]))
    await trio.testing.wait_all_tasks_blocked(0.3)
    for environment_id in reversed(IDS[:3]):
        since = len(host.posts)
        git("update-ref", f"refs/heads/bb/{environment_id}", "main", cwd=repo)
        with trio.fail_after(20):
            wanted = (environment_id, EnvironmentChange.WORK_STATUS)
            await host.posted.wait_value(lambda _count, s=since, w=wanted: w in host.posts[s:])
