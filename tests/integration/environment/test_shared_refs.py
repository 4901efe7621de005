"""One owner reads the refs for all worktrees of a repository: whoever comes or goes, all are told."""

import random
from pathlib import Path

import pytest
import trio
import trio.testing
from attrs import evolve

from bbhost.contract.session import EnvironmentChange
from bbhost.domain.ids import EnvironmentId
from bbhost.errors import GitCommandError
from bbhost.watch.tree_area import TreeArea
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
@pytest.mark.parametrize("seed", range(2))
async def test_all_that_live_are_told_while_others_come_and_go(
    host: Host, repo: Path, seed: int
) -> None:
    chance = random.Random(seed)
    live: set[EnvironmentId] = set()
    for environment_id in IDS[:4]:
        await make(host, repo, environment_id)
        live.add(environment_id)
    for number in range(15):
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


async def make_again(
    host: Host, repo: Path, environment_id: EnvironmentId, base: str | None = None
) -> None:
    """Destroy it and provision it anew, on the branch that is there."""
    await host.supervisor.destroy(environment_id, host.context(environment_id, repo))
    spec = evolve(host.spec(environment_id, repo), base_branch=base)
    await host.supervisor.provision(environment_id, spec)
    await host.certain(environment_id)


@pytest.mark.slow
async def test_what_becomes_of_a_branch_that_was_continued_is_told(host: Host, repo: Path) -> None:
    """Its first commit and its end, also when its branches were read in between."""
    for environment_id in IDS[:2]:
        await make(host, repo, environment_id)
    await make_again(host, repo, IDS[0])
    git("tag", "a-tag", cwd=repo)
    await trio.sleep(0.3)
    for tell in (
        lambda: git(
            "commit", "-qm", "x", "--allow-empty", cwd=Path(host.spec(IDS[0], repo).target_path)
        ),
        lambda: git("update-ref", "-d", f"refs/heads/bb/{IDS[0]}", cwd=repo),
    ):
        since = len(host.posts)
        tell()
        await wait_told(host, since, {IDS[1]})


@pytest.mark.slow
async def test_branches_that_provisioning_sets_anew_are_not_told(host: Host, repo: Path) -> None:
    """The posts would grow with the square of the number of worktrees."""
    for environment_id in IDS[:4]:
        await make(host, repo, environment_id)
    git("commit", "-qm", "more", "--allow-empty", cwd=repo)
    await wait_told(host, 0, set(IDS[:4]))
    await trio.testing.wait_all_tasks_blocked(0.3)
    since = len(host.posts)
    for environment_id in IDS[1:4]:
        await make_again(host, repo, environment_id, base="main")
    await trio.sleep(0.3)
    assert [post for post in host.posts[since:] if post[1] is EnvironmentChange.GIT_REFS] == []
    git("branch", "told", cwd=repo)
    await wait_told(host, since, set(IDS[:4]))


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


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3])
async def test_a_reader_in_doubt_about_its_own_tree_reads_all_the_same(
    host: Host, repo: Path, count: int
) -> None:
    """Its status is put off until its watches are set; the refs are not."""
    for environment_id in IDS[:count]:
        await make(host, repo, environment_id)
    path = Path(host.spec(IDS[0], repo).target_path)
    watch = next(one for one in host.watches._watches if one.target.root == str(path))

    async def make_directories(first: int) -> None:
        for number in range(first, first + 100):
            (path / "d0" / f"new{number}").mkdir()
            await trio.sleep(0.002)

    for number in range(3):
        # As `git worktree repair` does: this may be another repository now.
        (path / ".git.new").write_text((path / ".git").read_text())
        (path / ".git.new").rename(path / ".git")
        with trio.fail_after(20):
            while not watch._unknown:  # noqa: ASYNC110 - it is flagged synchronously
                await trio.sleep(0.001)
        # All has been surveyed, and the owner is about to hear of it: now it is at work again.
        since = len(host.posts)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(make_directories, number * 100)
            await trio.sleep(0.02)
            git("branch", f"n{number}", cwd=repo)
        await wait_told(host, since, set(IDS[:count]))
    (path / "last.txt").write_text("last\n")
    handle = await host.supervisor.enter(IDS[0], host.context(IDS[0], repo))
    assert "last.txt" in {file.path for file in (await handle.status(None)).working_tree.files}


@pytest.mark.slow
async def test_one_with_a_directory_that_nobody_may_read_is_no_hole(
    host: Host, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is never certain, but it is not for ever about to be."""
    monkeypatch.setattr(TreeArea, "is_settled", property(lambda _self: False))
    for environment_id in IDS[:3]:
        await make(host, repo, environment_id)
    since = len(host.posts)
    git("branch", "another", cwd=repo)
    await wait_told(host, since, set(IDS[:3]))
    since = len(host.posts)
    Path(host.spec(IDS[0], repo).target_path, "new.txt").write_text("new\n")
    with trio.fail_after(20):
        wanted = (IDS[0], EnvironmentChange.WORK_STATUS)
        await host.posted.wait_value(lambda _count: wanted in host.posts[since:])
