"""Finding a repository by reading files agrees with ``git rev-parse --is-inside-work-tree``."""

import os
import resource
import shutil
from pathlib import Path

import pytest

from bbhost.errors import UnreadableRepositoryError
from bbhost.workspace.git import Git
from bbhost.workspace.repository import (
    Head,
    discover_repository,
    head_has_commit,
    object_format,
    read_head,
)
from tests.integration.workspace.scratch import git_text, make_repository, run_git


def git_says(path: Path) -> Path | None:
    """The top of the work tree that git itself finds, or None."""
    if run_git(path, "rev-parse", "--is-inside-work-tree", check=False).strip() != b"true":
        return None
    return Path(os.fsdecode(run_git(path, "rev-parse", "--show-toplevel")[:-1]))


def agrees(path: Path) -> bool:
    found = discover_repository(path)
    return (None if found is None else found.work_tree) == git_says(path)


def test_main_work_tree_is_found_from_any_directory_in_it(repo: Path):
    """The top, a sub-directory and an ignored directory all belong to the work tree."""
    for path in (repo, repo / "src"):
        found = discover_repository(path)
        assert found is not None
        assert (found.work_tree, found.git_dir, found.common_dir) == (
            repo,
            repo / ".git",
            repo / ".git",
        )
        assert not found.is_worktree
        assert agrees(path)


def test_inside_git_dir_is_not_a_work_tree(repo: Path):
    """A directory inside ``.git`` has git directories but no work tree."""
    for path in (repo / ".git", repo / ".git" / "refs"):
        assert discover_repository(path) is None
        assert agrees(path)


def test_linked_worktree_of_a_bare_repository(repo: Path, tmp_path: Path):
    """A linked work tree is one although the common dir says that it is bare."""
    bare = tmp_path / "bare.git"
    run_git(tmp_path, "clone", "-q", "--bare", str(repo), str(bare))
    run_git(bare, "worktree", "add", "-q", "-b", "feature", str(tmp_path / "tree"), "main")
    found = discover_repository(tmp_path / "tree")
    assert found is not None
    assert found.is_worktree
    assert found.common_dir == bare
    assert found.git_dir == bare / "worktrees" / "tree"
    assert read_head(found) == Head("feature", None)
    assert discover_repository(bare) is None
    assert agrees(bare)
    assert agrees(tmp_path / "tree")


def test_directory_of_a_bare_clone_and_its_worktrees(repo: Path, tmp_path: Path):
    """A ``.git`` file that points to a bare repository does not make its directory a work tree."""
    project = tmp_path / "project"
    project.mkdir()
    run_git(project, "clone", "-q", "--bare", str(repo), str(project / ".bare"))
    (project / ".git").write_text("gitdir: ./.bare\n")
    run_git(project, "worktree", "add", "-q", str(project / "main2"), "-b", "main2")
    assert discover_repository(project) is None
    assert agrees(project)
    assert agrees(project / "main2")
    assert discover_repository(project / "main2") is not None


def test_core_worktree_and_core_bare_are_heeded(repo: Path, tmp_path: Path):
    """``core.worktree`` moves the work tree away, ``core.bare`` takes it away."""
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    run_git(repo, "config", "core.worktree", str(elsewhere))
    assert agrees(repo)
    assert discover_repository(repo) is None
    run_git(repo, "config", "--unset", "core.worktree")
    run_git(repo, "config", "core.bare", "true")
    assert agrees(repo)
    assert discover_repository(repo) is None
    run_git(repo, "config", "core.bare", "false")
    assert agrees(repo)
    assert discover_repository(repo) is not None


def test_submodule_is_a_repository_of_its_own(repo: Path, tmp_path: Path):
    """In a submodule the submodule is found, through its ``core.worktree``."""
    make_repository(tmp_path / "library")
    run_git(
        repo,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "add",
        "-q",
        str(tmp_path / "library"),
        "lib",
    )
    found = discover_repository(repo / "lib")
    assert found is not None
    assert found.work_tree == repo / "lib"
    assert not found.is_worktree
    assert agrees(repo / "lib")


@pytest.mark.parametrize(
    "name", [b"with space", b"\xff\xfe", "ünï".encode(), b"new\nline", b"quo'te\""]
)
def test_any_directory_name(tmp_path: Path, name: bytes):
    """Spaces, newlines and bytes that are not UTF-8 do not matter."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    make_repository(path)
    assert agrees(path)
    run_git(path, "worktree", "add", "-q", "-b", "tree", str(path) + "-tree")
    assert agrees(Path(str(path) + "-tree"))


def test_symlinks_lead_to_the_real_place(repo: Path, tmp_path: Path):
    """A link into a work tree belongs to that work tree, as it does for git, which sees the real cwd."""
    link = tmp_path / "link"
    link.symlink_to(repo / "src")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    found = discover_repository(link)
    assert found is not None
    assert found.work_tree == repo
    assert agrees(link)
    assert discover_repository(loop) is None


def test_git_dir_behind_a_symlink(repo: Path, tmp_path: Path):
    """``.git`` may itself be a link to a directory."""
    (repo / ".git").rename(tmp_path / "moved.git")
    (repo / ".git").symlink_to(tmp_path / "moved.git")
    found = discover_repository(repo)
    assert found is not None
    assert found.git_dir == tmp_path / "moved.git"
    assert agrees(repo)


def test_what_is_no_repository(repo: Path, tmp_path: Path):
    """Missing paths, files, plain directories, broken ``.git`` files and empty ``.git`` directories."""
    plain = tmp_path / "plain"
    (plain / ".git").mkdir(parents=True)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / ".git").write_text("gitdir: /nowhere\n")
    inside_broken = repo / "inside"
    inside_broken.mkdir()
    (inside_broken / ".git").write_text("nonsense")
    for path in (plain, broken, inside_broken):
        assert discover_repository(path) is None
        assert agrees(path)
    assert discover_repository(tmp_path / "missing") is None
    assert discover_repository(repo / "a.txt") is None


def test_an_empty_git_directory_inside_a_repository_is_passed_over(repo: Path):
    """Git goes on upwards past a ``.git`` directory that is not one."""
    (repo / "src" / ".git").mkdir()
    assert agrees(repo / "src")
    found = discover_repository(repo / "src")
    assert found is not None
    assert found.work_tree == repo


def test_deleted_repository_is_gone(repo: Path):
    """Nothing is remembered."""
    assert discover_repository(repo) is not None
    shutil.rmtree(repo / ".git")
    assert discover_repository(repo) is None


def test_head_in_its_forms(repo: Path, tmp_path: Path):
    """Branch, packed branch, detached, unborn."""
    found = discover_repository(repo)
    assert found is not None
    assert read_head(found) == Head("main", None)
    assert head_has_commit(found)
    run_git(repo, "pack-refs", "--all")
    assert head_has_commit(found)
    run_git(repo, "checkout", "-q", "--detach")
    assert read_head(found) == Head(None, git_text(repo, "rev-parse", "HEAD"))
    assert head_has_commit(found)
    run_git(repo, "checkout", "-q", "--orphan", "new/born")
    assert read_head(found) == Head("new/born", None)
    assert not head_has_commit(found)


def test_object_format(repo: Path, tmp_path: Path):
    """The hash algorithm is read from the configuration."""
    found = discover_repository(repo)
    assert found is not None
    assert object_format(found) == "sha1"
    run_git(tmp_path, "init", "-q", "--object-format=sha256", "other")
    other = discover_repository(tmp_path / "other")
    assert other is not None
    assert object_format(other) == "sha256"


async def test_poisoned_variables_change_nothing(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """GIT_DIR and its kind in the daemon's environment reach neither the search nor a child."""
    sentinel = make_repository(tmp_path / "sentinel")
    before = sorted(path.stat().st_mtime_ns for path in sentinel.rglob("*"))
    marker = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {marker}\n")
    program.chmod(0o755)
    for name, value in {
        "GIT_DIR": str(sentinel / ".git"),
        "GIT_WORK_TREE": str(sentinel),
        "GIT_INDEX_FILE": str(sentinel / ".git" / "index"),
        "GIT_COMMON_DIR": str(sentinel / ".git"),
        "GIT_OBJECT_DIRECTORY": str(sentinel / ".git" / "objects"),
        "GIT_EXTERNAL_DIFF": str(program),
        "GIT_SSH_COMMAND": str(program),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": str(program),
        "GIT_CONFIG_PARAMETERS": f"'core.fsmonitor={program}'",
        "GIT_CONFIG_GLOBAL": str(tmp_path / "nothing"),
        "GIT_CEILING_DIRECTORIES": str(repo),
    }.items():
        monkeypatch.setenv(name, value)
    (repo / "a.txt").write_text("changed\n")
    found = discover_repository(repo)
    assert found is not None
    assert found.work_tree == repo
    git = Git()
    shown = await git.run("status", "--porcelain", cwd=repo)
    assert shown.stdout == b" M a.txt\n"
    shown = await git.run("diff", "--stat", cwd=repo)
    assert b"a.txt" in shown.stdout
    top = await git.run("rev-parse", "--show-toplevel", cwd=repo)
    assert Path(top.stdout.decode().strip()) == repo
    assert not marker.exists()
    assert sorted(path.stat().st_mtime_ns for path in sentinel.rglob("*")) == before


def test_no_repository_is_not_said_for_want_of_a_descriptor(repo: Path):
    """A server takes "not a repository" for leave to destroy."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
    try:
        with pytest.raises(UnreadableRepositoryError, match="cannot be told") as caught:
            discover_repository(repo)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert caught.value.code == "EMFILE"
    assert discover_repository(repo) is not None
