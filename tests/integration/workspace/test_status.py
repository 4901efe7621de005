"""The status of real work trees, and what it costs."""

import json
import os
from pathlib import Path

import pytest
import trio

from bbhost.domain.status import FileStatus, WorkingTreeState
from bbhost.errors import GitCommandError, PathNotFoundError
from bbhost.workspace.git import Git
from bbhost.workspace.refs import RefsCache
from bbhost.workspace.repository import discover_repository
from bbhost.workspace.status import StatusReading, read_status
from tests.integration.workspace.scratch import commit_all, git_text, make_repository, run_git


class Reader:
    """Reads the status of one work tree and counts processes."""

    def __init__(self, path: Path) -> None:
        found = discover_repository(path)
        assert found is not None
        self.repository = found
        self.git = Git()
        self.refs = RefsCache(self.git)
        self.refs.trust(found.common_dir)

    async def read(self, merge_base_branch: str | None = None, **options: bool) -> StatusReading:
        return await read_status(
            self.git, self.refs, self.repository, merge_base_branch, **options
        )

    async def files(self) -> dict[str, str]:
        status = (await self.read()).status
        return {file.path: file.status.value for file in status.working_tree.files}

    async def settle(self) -> None:
        """Read until the configuration is old enough for its scan to be kept."""
        with trio.fail_after(10):
            while "config" in await self.cost():
                pass

    async def cost(self, merge_base_branch: str | None = None) -> dict[str, int]:
        """Processes of one reading, by verb."""
        before = self.git.statistics().processes
        await self.read(merge_base_branch)
        after = self.git.statistics().processes
        return {
            verb: count - before.get(verb, 0)
            for verb, count in after.items()
            if count != before.get(verb, 0)
        }


@pytest.fixture
def reader(repo: Path) -> Reader:
    return Reader(repo)


async def test_clean_costs_one_process(reader: Reader):
    """With the refs known, a clean status is one git process."""
    first = await reader.read()
    tree = first.status.working_tree
    assert (tree.state, tree.files, tree.has_uncommitted_changes) == (
        WorkingTreeState.CLEAN,
        (),
        False,
    )
    assert first.status.branch.current_branch == "main"
    assert first.status.branch.default_branch == "main"
    assert first.status.merge_base is None
    assert first.ignored_directories is None
    await reader.settle()
    assert await reader.cost() == {"status": 1}


async def test_changes_cost_one_more(reader: Reader, repo: Path):
    """Line counts need a second process, only when tracked files changed."""
    await reader.settle()
    (repo / "new.txt").write_text("x\n")
    assert await reader.cost() == {"status": 1}
    (repo / "a.txt").write_text("changed\n")
    assert await reader.cost() == {"status": 1, "diff": 1}


async def test_kinds_of_changes(reader: Reader, repo: Path):
    """Each kind has its letter; totals count tracked files only."""
    for name in ("gone", "moved", "kept"):
        (repo / name).write_text(f"{name}\n" * 20)
    (repo / "binary").write_bytes(b"\0\1\2")
    commit_all(repo, "more")
    (repo / "a.txt").write_text("a\nB\nc\nd\n")
    (repo / "gone").unlink()
    run_git(repo, "mv", "moved", "renamed")
    (repo / "staged").write_text("s\n")
    run_git(repo, "add", "staged")
    (repo / "staged").write_text("s\nt\n")
    (repo / "binary").write_bytes(b"\0\3")
    (repo / "kept").chmod(0o755)
    (repo / "loose").write_text("l\n")
    (repo / "src" / "b.txt").unlink()
    (repo / "src" / "b.txt").symlink_to("../a.txt")
    status = (await reader.read()).status.working_tree
    found = {
        file.path: (file.status.value, file.insertions, file.deletions) for file in status.files
    }
    assert found == {
        "a.txt": ("M", 2, 1),
        "gone": ("D", 0, 20),
        "renamed": ("R", 0, 0),
        "staged": ("A", 2, 0),
        "binary": ("M", None, None),
        "kept": ("M", 0, 0),
        "loose": ("??", None, None),
        "src/b.txt": ("M", 1, 1),
    }
    assert (status.insertions, status.deletions) == (5, 22)
    assert status.state is WorkingTreeState.DIRTY
    assert status.has_uncommitted_changes


async def test_only_untracked_files(reader: Reader, repo: Path):
    """A state of its own; every file is listed, not only its directory."""
    (repo / "deep" / "er").mkdir(parents=True)
    (repo / "deep" / "er" / "x").write_text("")
    status = (await reader.read()).status.working_tree
    assert status.state is WorkingTreeState.UNTRACKED
    assert status.has_uncommitted_changes
    assert [(file.path, file.status) for file in status.files] == [
        ("deep/er/x", FileStatus.UNTRACKED)
    ]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"with space", "with space"),
        (b"-dash", "-dash"),
        ("ü→😀".encode(), "ü→😀"),
        (b"new\nline", "new\nline"),
        (b'tab\tquote"back\\slash', 'tab\tquote"back\\slash'),
        (b"latin\xfc1", "latin\\xfc1"),
        (b" -> ", " -> "),
    ],
)
async def test_names(reader: Reader, repo: Path, name: bytes, shown: str):
    """Any file name is shown, tracked, renamed or untracked, and fits into JSON."""
    path = Path(os.fsdecode(os.fsencode(repo) + b"/" + name))
    path.write_text("x\ny\nz\n")
    assert await reader.files() == {shown: "??"}
    run_git(repo, "add", "-A")
    assert await reader.files() == {shown: "A"}
    run_git(repo, "commit", "-qm", "named")
    path.write_text("x\ny\nz\nw\n")
    status = (await reader.read()).status.working_tree
    assert [(file.path, file.insertions) for file in status.files] == [(shown, 1)]
    run_git(repo, "checkout", "-q", ".")
    run_git(repo, "mv", "a.txt", "b.txt")
    assert await reader.files() == {"b.txt": "R"}
    json.dumps([file.path for file in status.files]).encode("utf-8")


async def test_unborn_head(tmp_path: Path):
    """Before the first commit there are no line counts, and asking for a merge base is no failure."""
    where = tmp_path / "fresh"
    where.mkdir()
    run_git(where, "init", "-q", "-b", "trunk")
    reader = Reader(where)
    assert (await reader.read()).status.working_tree.state is WorkingTreeState.CLEAN
    (where / "x").write_text("x\n")
    run_git(where, "add", "x")
    status = (await reader.read()).status
    assert [
        (file.path, file.status.value, file.insertions) for file in status.working_tree.files
    ] == [("x", "A", None)]
    assert (status.branch.current_branch, status.branch.default_branch) == ("trunk", "trunk")


async def test_orphan_branch_with_a_merge_base(reader: Reader, repo: Path):
    """An unborn branch has nothing in common with another one, which is no failure."""
    run_git(repo, "checkout", "-q", "--orphan", "other")
    found = (await reader.read("main")).status.merge_base
    assert found is not None
    assert (found.base_ref, found.ahead_count, found.behind_count) == (None, 0, 0)


async def test_detached_head(reader: Reader, repo: Path):
    """A detached HEAD has no current branch; the default branch stays."""
    run_git(repo, "checkout", "-q", "--detach")
    branch = (await reader.read()).status.branch
    assert (branch.current_branch, branch.default_branch) == (None, "main")


async def test_conflicts(reader: Reader, repo: Path):
    """Unmerged files are U, also where both sides added or one side deleted."""
    run_git(repo, "checkout", "-qb", "side")
    (repo / "a.txt").write_text("side\n")
    (repo / "both").write_text("side\n")
    (repo / "src" / "b.txt").unlink()
    commit_all(repo, "side")
    run_git(repo, "checkout", "-q", "main")
    (repo / "a.txt").write_text("main\n")
    (repo / "both").write_text("main\n")
    (repo / "src" / "b.txt").write_text("two\n")
    commit_all(repo, "main")
    run_git(repo, "merge", "side", check=False)
    assert await reader.files() == {"a.txt": "U", "both": "U", "src/b.txt": "U"}


@pytest.fixture
def with_library(repo: Path, tmp_path: Path) -> Path:
    """The repository with a submodule ``lib``."""
    library = make_repository(tmp_path / "library")
    run_git(
        repo, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library), "lib"
    )
    commit_all(repo, "with library")
    return repo


def plain_files(repo: Path) -> list[str]:
    """What git itself lists."""
    lines = run_git(repo, "status", "--porcelain").decode().splitlines()
    return [line[3:] for line in lines]


@pytest.mark.slow
async def test_submodule_with_a_new_commit(with_library: Path):
    """A submodule whose HEAD moved is modified."""
    reader = Reader(with_library)
    assert await reader.files() == {}
    commit_all(with_library / "lib", "forward")
    status = (await reader.read()).status.working_tree
    assert [(file.path, file.status.value, file.insertions) for file in status.files] == [
        ("lib", "M", 1)
    ]


@pytest.mark.parametrize("ignore", [None, "none", "untracked", "dirty", "all"])
@pytest.mark.parametrize("where", ["config", ".gitmodules"])
async def test_work_inside_a_submodule(with_library: Path, ignore: str | None, where: str):
    """Edits and new files inside count as git counts them, with what the repository leaves out."""
    if ignore is not None:
        place = [] if where == "config" else ["--file", ".gitmodules"]
        run_git(with_library, "config", *place, "submodule.lib.ignore", ignore)
    reader = Reader(with_library)
    (with_library / "lib" / "new").write_text("x")
    assert list(await reader.files()) == plain_files(with_library)
    (with_library / "lib" / "a.txt").write_text("x")
    assert list(await reader.files()) == plain_files(with_library)


async def test_cost_with_a_submodule(with_library: Path):
    """Once its configuration and index are known, looking into a submodule costs nothing of ours."""
    reader = Reader(with_library)
    with trio.fail_after(10):
        while await reader.cost() != {"status": 1}:
            pass
    (with_library / "lib" / "a.txt").write_text("x")
    assert await reader.cost() == {"status": 1, "diff": 1}


async def test_nested_repository_is_one_untracked_entry(reader: Reader, repo: Path):
    """Git does not look into a repository it does not know; neither does the status."""
    make_repository(repo / "nested")
    assert await reader.files() == {"nested/": "??"}


async def test_taken_out_of_the_index_only(reader: Reader, repo: Path):
    """Listed as deleted and as untracked; only the first has line counts."""
    run_git(repo, "rm", "-q", "--cached", "a.txt")
    status = (await reader.read()).status.working_tree
    assert [(file.path, file.status.value, file.deletions) for file in status.files] == [
        ("a.txt", "D", 3),
        ("a.txt", "??", None),
    ]


async def test_linked_worktree_of_a_bare_repository(repo: Path, tmp_path: Path):
    """A work tree of a bare repository reads as any other."""
    bare = tmp_path / "bare.git"
    run_git(tmp_path, "clone", "-q", "--bare", str(repo), str(bare))
    run_git(bare, "worktree", "add", "-q", "-b", "feature", str(tmp_path / "tree"), "main")
    (tmp_path / "tree" / "a.txt").write_text("new\n")
    reader = Reader(tmp_path / "tree")
    status = (await reader.read("main")).status
    assert status.branch.current_branch == "feature"
    assert [file.path for file in status.working_tree.files] == ["a.txt"]
    assert status.merge_base is not None
    assert status.merge_base.base_ref == git_text(repo, "rev-parse", "main")


async def test_sub_directory_of_a_repository(repo: Path):
    """A workspace that is a directory inside a repository shows the whole repository, as git does."""
    (repo / "a.txt").write_text("x\n")
    assert await Reader(repo / "src").files() == {"a.txt": "M"}


async def test_work_tree_deleted_under_our_feet(reader: Reader, repo: Path, tmp_path: Path):
    """A clear error, and nothing is made."""
    repo.rename(tmp_path / "away")
    with pytest.raises(PathNotFoundError):
        await reader.read()
    assert not repo.exists()
    (repo / "plain").mkdir(parents=True)
    with pytest.raises(GitCommandError):
        await reader.read()


async def test_ignored_directories_from_the_same_process(reader: Reader, repo: Path):
    """The watcher's question is answered by the status that is read anyway."""
    (repo / ".gitignore").write_text("node_modules/\n*.log\n")
    for name in ("node_modules/a/b", "src/node_modules", "logs"):
        (repo / name).mkdir(parents=True)
        (repo / name / "x.log").write_text("")
    reading = await reader.read(with_ignored=True)
    assert reading.ignored_directories == ("node_modules", "src/node_modules")
    assert reading.fingerprint == (await reader.read()).fingerprint


async def test_reading_writes_nothing(reader: Reader, repo: Path):
    """Neither the index nor anything else in the git dir changes by being read."""
    os.utime(repo / "a.txt", ns=(1, 1))
    (repo / "src" / "b.txt").write_text("changed\n")

    def look() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (repo / ".git").rglob("*")}

    before = look()
    files = await reader.files()
    assert files == {"src/b.txt": "M"}
    assert look() == before


# --- fingerprint -----------------------------------------------------------------------------


async def test_fingerprint_stays_while_nothing_changes(reader: Reader, repo: Path):
    """Reading again, and what is ignored, do not change it."""
    (repo / ".gitignore").write_text("*.log\n")
    (repo / "a.txt").write_text("x\n")
    first = (await reader.read()).fingerprint
    (repo / "x.log").write_text("x\n")
    assert (await reader.read()).fingerprint == first
    assert (await reader.read("main")).fingerprint == first


@pytest.mark.slow
async def test_fingerprint_follows_every_kind_of_change(reader: Reader, repo: Path):
    """Edits that leave status and line counts equal, edits of untracked files, commits, branches."""
    seen = {(await reader.read()).fingerprint}

    async def changed() -> bool:
        reader.refs.invalidate(reader.repository.common_dir)
        fingerprint = (await reader.read()).fingerprint
        is_new = fingerprint not in seen
        seen.add(fingerprint)
        return is_new

    (repo / "a.txt").write_text("a\nb\nX\n")
    assert await changed()
    (repo / "a.txt").write_text("a\nb\nY\n")  # same status, same counts, same size
    assert await changed()
    (repo / "new").write_text("1\n")
    assert await changed()
    (repo / "new").write_text("2\n")
    assert await changed()
    (repo / "new").chmod(0o755)
    assert await changed()
    commit_all(repo, "second")
    assert await changed()
    commit_all(repo, "nothing in it")
    assert await changed()
    run_git(repo, "checkout", "-qb", "elsewhere")
    assert await changed()
    run_git(repo, "checkout", "-q", "--detach")
    assert await changed()
    run_git(repo, "branch", "-m", "main", "master")
    assert await changed()
