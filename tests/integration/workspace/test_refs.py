"""Branches are read once for each repository, and never kept longer than they are true."""

from pathlib import Path
from typing import Any

import pytest
import trio

from bbhost.workspace.git import Git, GitResult
from bbhost.workspace.refs import RefsCache, RefsSnapshot, parse_refs
from bbhost.workspace.repository import Repository, discover_repository
from tests.integration.workspace.scratch import git_text, run_git


def repository_at(path: Path) -> Repository:
    found = discover_repository(path)
    assert found is not None
    return found


def reads(git: Git) -> int:
    return git.statistics().processes.get("for-each-ref", 0)


class FirstIsSlow(Git):
    """What it is asked first it answers last."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.go_on = trio.Event(), trio.Event()

    async def run(self, *arguments: str, **options: Any) -> GitResult:
        result = await super().run(*arguments, **options)
        if not self.read.is_set():
            self.read.set()
            await self.go_on.wait()
        return result


async def test_heads_remotes_and_default_branch(repo: Path, tmp_path: Path):
    """Symbolic refs are no remote branches; origin's head is the default branch."""
    run_git(repo, "branch", "-m", "main", "trunk")
    run_git(repo, "branch", "main")
    run_git(tmp_path, "clone", "-q", str(repo), "clone")
    git = Git()
    snapshot = await RefsCache(git).refs(repository_at(tmp_path / "clone"))
    head = git_text(repo, "rev-parse", "HEAD")
    assert dict(snapshot.heads) == {"trunk": head}
    assert dict(snapshot.remotes) == {"origin/main": head, "origin/trunk": head}
    assert (snapshot.origin_head, snapshot.default_branch) == ("trunk", "trunk")


async def test_origin_head_that_names_a_branch_that_is_gone(repo: Path, tmp_path: Path):
    """It still names the default branch, as ``git symbolic-ref`` would say."""
    run_git(tmp_path, "clone", "-q", str(repo), "clone")
    clone = tmp_path / "clone"
    run_git(clone, "update-ref", "-d", "refs/remotes/origin/main")
    snapshot = await RefsCache(Git()).refs(repository_at(clone))
    assert snapshot.origin_head == "main"
    assert dict(snapshot.remotes) == {}


def test_default_branch_without_origin():
    """main, then master, then the first one, then none."""

    def default(*names: str) -> str | None:
        return RefsSnapshot(dict.fromkeys(names, "0"), {}, None).default_branch

    assert default("a", "main", "master") == "main"
    assert default("a", "master") == "master"
    assert default("b", "c") == "b"
    assert default() is None


def test_default_branch_with_one_that_is_about_to_be_made():
    """It is what it will be when the branch is there."""

    def default(branch: str, *names: str, origin: str | None = None) -> str | None:
        found = RefsSnapshot(dict.fromkeys(names, "0"), {}, origin).default_branch_with(branch)
        there = RefsSnapshot(dict.fromkeys(sorted({*names, branch}), "0"), {}, origin)
        assert found == there.default_branch
        return found

    assert default("a", "main", "master") == "main"
    assert default("master", "a") == "master"
    assert default("main", "a", "master") == "main"
    assert default("a", "b", "c") == "a"
    assert default("a", "b", "main") == "main"
    assert default("c", "b") == "b"
    assert default("a") == "a"
    assert default("main", origin="trunk") == "trunk"


def test_a_reading_shares_with_the_one_before():
    """Of thousands of branches, those that are new cost memory; no change at all costs none."""
    listing = b"1234 refs/heads/topic/a \n1234 refs/heads/topic/b \n5678 refs/remotes/origin/a \n"
    first = parse_refs(listing)
    assert parse_refs(listing, None, first) is first
    second = parse_refs(
        b"1234 refs/heads/topic/a \n5678 refs/heads/topic/b \n5678 refs/heads/topic/c \n",
        None,
        first,
    )
    assert dict(second.heads) == {"topic/a": "1234", "topic/b": "5678", "topic/c": "5678"}
    assert second.remotes == {}
    names = {name: name for name in first.heads}
    assert all(names[name] is name for name in second.heads if name in names)
    assert second.heads["topic/a"] is first.heads["topic/b"]
    assert second.heads["topic/c"] is first.remotes["origin/a"]


async def test_a_reading_after_a_change_of_nothing_is_the_one_before(repo: Path):
    """Of a tag, say. Whoever holds the branches sees at once that they are the same."""
    cache = RefsCache(Git())
    repository = repository_at(repo)
    cache.trust(repository.common_dir)
    first = await cache.refs(repository)
    cache.invalidate(repository.common_dir)
    assert await cache.refs(repository) is first
    assert reads(cache._git) == 2


async def test_an_older_reading_that_ends_later_is_not_given_out(repo: Path):
    """Two readings side by side: branches must not seem to go and come back."""
    git = FirstIsSlow()
    cache = RefsCache(git)
    repository = repository_at(repo)
    cache.trust(repository.common_dir)
    answers: list[RefsSnapshot] = []

    async def ask() -> None:
        answers.append(await cache.refs(repository))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await git.read.wait()
            run_git(repo, "branch", "new")
            cache.invalidate(repository.common_dir)
            newer = await cache.refs(repository)
            git.go_on.set()
    assert answers == [newer]
    assert "new" in newer.heads


async def test_a_reading_for_those_who_watched_before_is_not_kept(repo: Path):
    """All watches end while it runs, others begin: they know nothing of what happened before."""
    git = FirstIsSlow()
    cache = RefsCache(git)
    repository = repository_at(repo)
    cache.trust(repository.common_dir)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cache.refs, repository)
            await git.read.wait()
            cache.distrust(repository.common_dir)
            run_git(repo, "branch", "new")
            cache.trust(repository.common_dir)
            assert "new" in (await cache.refs(repository)).heads
            git.go_on.set()
    assert "new" in (await cache.refs(repository)).heads


async def test_what_provisioning_sets_is_known_until_it_is_seen(repo: Path):
    cache = RefsCache(Git())
    common_dir = repository_at(repo).common_dir
    with cache.expecting(common_dir, "b", "1"):
        assert cache.expected(common_dir) == {}, "nobody watches"
    cache.trust(common_dir)
    with cache.expecting(common_dir, "b", "1"):
        assert not cache.expected(common_dir)["b"].ended
    assert cache.expected(common_dir)["b"].ended
    with pytest.raises(KeyError), cache.expecting(common_dir, "c", "1"):
        raise KeyError
    with cache.expecting(common_dir, "unknown", None):
        pass
    assert list(cache.expected(common_dir)) == ["b"]


def test_names_that_are_not_utf8_fit_into_json():
    """Their bytes are kept as escapes."""
    snapshot = parse_refs(b"1234 refs/heads/caf\xe9 \n1234 refs/heads/u\xc2\x85x \n")
    assert list(snapshot.heads) == ["caf\\xe9", "u\x85x"]


async def test_kept_only_while_watched(repo: Path):
    """Without a watcher each question reads; with one, only the first and those after a change."""
    git = Git()
    cache = RefsCache(git)
    repository = repository_at(repo)
    for _ in range(2):
        await cache.refs(repository)
    assert reads(git) == 2
    cache.trust(repository.common_dir)
    cache.trust(repository.common_dir)
    for _ in range(3):
        await cache.refs(repository)
    assert reads(git) == 3
    run_git(repo, "branch", "new")
    cache.invalidate(repository.common_dir)
    assert "new" in (await cache.refs(repository)).heads
    assert reads(git) == 4
    cache.distrust(repository.common_dir)
    await cache.refs(repository)
    assert reads(git) == 4
    cache.distrust(repository.common_dir)
    await cache.refs(repository)
    assert reads(git) == 5


async def test_whoever_watches_is_asked_before_an_answer_is_given_again(repo: Path):
    """A branch made a moment ago is found although its change has not been reported yet."""
    git = Git()
    cache = RefsCache(git)
    repository = repository_at(repo)
    holds = True
    cache.confirm = lambda common_dir: holds and common_dir == repository.common_dir
    cache.trust(repository.common_dir)
    await cache.refs(repository)
    run_git(repo, "branch", "new")
    assert "new" not in (await cache.refs(repository)).heads
    holds = False
    assert "new" not in (await cache.refs(repository, confirmed=True)).heads
    assert "new" in (await cache.refs(repository)).heads
    assert reads(git) == 2


async def test_worktrees_share_one_reading(repo: Path, tmp_path: Path):
    """All work trees of a repository that ask at once are answered by one process."""
    places = [repository_at(repo)]
    for number in range(5):
        run_git(repo, "worktree", "add", "-q", str(tmp_path / f"tree{number}"))
        places.append(repository_at(tmp_path / f"tree{number}"))
    git = Git()
    cache = RefsCache(git)
    cache.trust(places[0].common_dir)
    async with trio.open_nursery() as nursery:
        for place in places:
            nursery.start_soon(cache.refs, place)
    assert reads(git) == 1


async def test_a_change_during_a_reading_is_not_missed(repo: Path):
    """A reading that began before a change answers nobody who asks after it, and is not kept."""
    git = Git(processes_at_once=1)
    cache = RefsCache(git)
    repository = repository_at(repo)
    cache.trust(repository.common_dir)
    await git.scan(repo)
    answers: list[RefsSnapshot] = []

    async def ask() -> None:
        answers.append(await cache.refs(repository))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            while reads(git) == 0:
                await trio.lowlevel.checkpoint()
            run_git(repo, "branch", "new")
            cache.invalidate(repository.common_dir)
            nursery.start_soon(ask)
    assert reads(git) == 2
    assert "new" in answers[-1].heads
    assert "new" in (await cache.refs(repository)).heads
    assert reads(git) == 2
