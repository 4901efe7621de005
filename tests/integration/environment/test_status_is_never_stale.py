"""Whatever others do, a status asked for right after it is what git says: the promise of the status cache."""

import os
import resource
import select
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio
from attrs import define

from bbhost.domain.ids import EnvironmentId
from bbhost.domain.status import WorkspaceStatus
from bbhost.environment.handle import ReadyHandle
from bbhost.errors import BbhostError
from bbhost.watch.values import WatchSettings
from bbhost.workspace.repository import find_git_dirs
from bbhost.workspace.status import read_status
from bbhost.workspace.tools import WorkspaceTools, make_tools
from tests.integration.environment import git_churn
from tests.integration.environment.conftest import Host, git, open_host

TREES = ("one", "two", "three")
CPU_SECONDS = int(os.environ.get("STATUS_PROOF_CPU_SECONDS", "3600"))
"""How much processor time the long proof takes, that of git included."""
FIRST_SEED = int(os.environ.get("STATUS_PROOF_FIRST_SEED", "1001"))
"""Where the long proof begins; a failure names the seed that shows it again."""
STEP_SECONDS = 60
"""Deadline of one step."""
STEPS_EACH = 3 * len(git_churn.KINDS)
"""Steps on one repository; then a new one is made, because work trees grow."""


class Worker:
    """The other process, which does a step whenever it is told to."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def step(self) -> str:
        """Let it do one thing and wait until that has been done.

        Blocking, and on purpose: while the event loop stands still nobody takes in what the kernel says,
        so that whoever is asked next has to look for it.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        assert select.select([self._process.stdout], [], [], STEP_SECONDS)[0], "it hangs"
        return self._process.stdout.readline().decode().strip()


@contextmanager
def open_worker(seed: int, library: Path, trees: list[Path]) -> Iterator[Worker]:
    """Start it; it ends with the context."""
    command = [sys.executable, git_churn.__file__, str(seed), library, library.parent / "outside"]
    with subprocess.Popen(
        [*map(str, command), *map(str, trees)],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            yield Worker(process)
        finally:
            process.kill()


@define
class Question:
    """One environment and what its status is compared with."""

    handle: ReadyHandle
    plain: WorkspaceTools
    """Tools of their own: nothing is remembered, nothing is watched."""
    base: str | None

    async def ask(self) -> WorkspaceStatus | str:
        """As the server does."""
        try:
            return await self.handle.status(self.base)
        except BbhostError as error:
            return error.code

    async def ask_git(self) -> WorkspaceStatus | str:
        """Without any memory."""
        found = find_git_dirs(Path(self.handle.path))
        if found is None:
            return "not_git_repo"
        try:
            repository = await self.handle._workspaces.repository(self.handle.path)
            reading = await read_status(self.plain.git, self.plain.refs, repository, self.base)
        except BbhostError as error:
            return error.code
        return reading.status


def names_in(status: WorkspaceStatus | str) -> set[str]:
    """The changed files of a status."""
    return set() if isinstance(status, str) else {one.path for one in status.working_tree.files}


def user_says(path: str) -> set[str] | None:
    """What the user's own git lists; None with submodules, of which only some are looked into."""
    if Path(path, ".gitmodules").exists():
        return None
    listed = git(
        "--no-optional-locks", "status", "--porcelain=v1", "-z", "-uall", "--no-renames",
        "--ignore-submodules=dirty",
        cwd=Path(path),
    )  # fmt: skip
    return {line[3:] for line in listed.split("\0") if line}


@asynccontextmanager
async def open_trees(root: Path, home: Path) -> AsyncIterator[tuple[Host, Path, list[Question]]]:
    """A repository with a library, three environments of it, and what is asked about each."""
    repo, library = root / "repo", root / "library"
    for path, file in ((repo, "a.txt"), (library, "lib.txt")):
        path.mkdir(parents=True)
        git("init", "-q", "-b", "main", cwd=path)
        (path / file).write_text("1\n")
        git("add", "-A", cwd=path)
        git("commit", "-qm", "first", cwd=path)
        git("commit", "-qm", "second", "--allow-empty", cwd=path)
    for directory in ("src/deep", "docs"):
        (repo / directory).mkdir(parents=True)
        (repo / directory / "b.txt").write_text("1\n2\n3\n")
    (repo / ".gitignore").write_text("node_modules/\n*.log\n")
    git("add", "-A", cwd=repo)
    git("commit", "-qm", "third", cwd=repo)
    git("checkout", "-q", "--detach", cwd=repo)  # main is for the others
    for branch in git_churn.BRANCHES[1:]:
        git("branch", branch, cwd=repo)
    rules = (home / ".gitconfig", home / ".config" / "git" / "ignore")
    async with open_host(root / "data", WatchSettings(rule_files=rules)) as host:
        questions = []
        plain = make_tools(root / "plain")
        for name in TREES:
            one = EnvironmentId(f"env_{name}")
            await host.supervisor.provision(one, host.spec(one, repo))
            await host.certain(one)
            handle = await host.supervisor.enter(one, host.context(one, repo))
            questions += [Question(handle, plain, base) for base in (None, "main")]
        yield host, library, questions


async def follow(root: Path, home: Path, seed: int, steps: int) -> Counter[str]:
    """Let the other process work, and ask after every step; return what it did, how often."""
    kinds: Counter[str] = Counter()
    async with open_trees(root, home) as (host, library, questions):
        trees = [Path(question.handle.path) for question in questions[::2]]
        with open_worker(seed, library, trees) as worker:
            for number in range(steps):
                with trio.fail_after(120):
                    done = worker.step()
                    said = [await question.ask() for question in questions]
                    true = [await question.ask_git() for question in questions]
                kind, place = done.split(" ")
                kinds[kind] += 1
                where = f"seed {seed}, step {number}: {done}"
                for question, told, expected in zip(questions, said, true, strict=True):
                    assert told == expected, f"{where}; {question.handle.path}, {question.base}"
                listed = user_says(str(trees[int(place)]))
                if listed is not None and not isinstance(said[2 * int(place)], str):
                    assert names_in(said[2 * int(place)]) <= listed, where
                    assert bool(listed) == bool(names_in(said[2 * int(place)])), where
        statistics = host.supervisor.cache_statistics
        # It was the memory that answered, where nothing had happened.
        assert statistics.hits > steps
    return kinds


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the configuration that git reads by itself."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[user]\n\tname = dev\n\temail = dev@example.invalid\n")
    monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.mark.slow
async def test_a_status_right_after_a_change_knows_it(tmp_path: Path, user: Path) -> None:
    """Each kind of change once."""
    kinds = await follow(tmp_path, user, 1, len(git_churn.KINDS))
    assert set(kinds) == set(git_churn.KINDS)


def used_cpu() -> float:
    """Processor time of this process and of its children so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


@pytest.mark.long
async def test_for_an_hour_of_work_no_status_is_stale(tmp_path: Path, user: Path) -> None:
    """Each kind of step was done many times."""
    began, seed = used_cpu(), FIRST_SEED - 1
    kinds: Counter[str] = Counter()
    while used_cpu() - began < CPU_SECONDS:
        seed += 1
        (user / ".config" / "git" / "ignore").unlink(missing_ok=True)
        kinds += await follow(tmp_path / str(seed), user, seed, STEPS_EACH)
        print(f"seed {seed}: {kinds.total()} steps in {used_cpu() - began:.0f} CPU s")
    assert set(kinds) == set(git_churn.KINDS)


@pytest.mark.slow
async def test_what_the_kernel_does_not_tell_is_found_by_the_sample(
    tmp_path: Path, host: Host, repo: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A write through a link outside of the tree is seen by nobody; the check of samples reports it."""
    one = EnvironmentId("env_one")
    await host.supervisor.provision(one, host.spec(one, repo))
    await host.certain(one)
    handle = await host.supervisor.enter(one, host.context(one, repo))
    (tmp_path / "outside").write_text("before\n")
    (Path(handle.path) / "linked.txt").hardlink_to(tmp_path / "outside")
    git("add", "linked.txt", cwd=Path(handle.path))
    git("commit", "-qm", "linked", cwd=Path(handle.path))
    assert not (await handle.status(None)).working_tree.has_uncommitted_changes
    statistics = host.supervisor.cache_statistics
    (tmp_path / "outside").write_text("after\n")
    # That is what the age limit is for.
    assert not (await handle.status(None)).working_tree.has_uncommitted_changes
    statistics.paranoid_sample = 1
    assert (await handle.status(None)).working_tree.has_uncommitted_changes
    assert (statistics.checked, statistics.differed) == (1, 1)
    assert "differs from git" in caplog.text
    assert (await handle.status(None)).working_tree.has_uncommitted_changes
    assert statistics.differed == 1
