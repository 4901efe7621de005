"""What the watcher is told about ignored directories."""

import os
from pathlib import Path

import pytest

from bbhost.workspace.git import Git
from bbhost.workspace.ignore import GitIgnoreOracle
from tests.integration.workspace.scratch import make_repository, run_git


@pytest.fixture
def ruled(repo: Path) -> Path:
    """Rules of every source: tree, nested, info/exclude, the user's global file."""
    (repo / ".gitignore").write_text("node_modules/\n*.log\nkept/\n!important/\n")
    (repo / "src" / ".gitignore").write_text("gen\n")
    (repo / ".git" / "info" / "exclude").write_text("private/\n")
    excludes = repo.parent / "home" / "excludes"
    excludes.write_text(".cache/\n")
    run_git(repo, "config", "--global", "core.excludesFile", str(excludes))
    for name in (
        "node_modules/a/b", "src/gen/x", "src/node_modules", "private/p", "a/.cache/z", "logs",
        "kept/new", "empty", "plain/deep",
    ):  # fmt: skip
        (repo / name).mkdir(parents=True)
        (repo / name / "x.log").write_text("")
    (repo / "kept" / "tracked").write_text("")
    run_git(repo, "add", "-f", "kept/tracked")
    return repo


async def test_all_ignored_directories(ruled: Path):
    """The topmost of each branch, by a rule of its own; not what merely holds ignored files."""
    found = await GitIgnoreOracle(Git()).ignored_directories(str(ruled))
    assert found == {
        "node_modules", "src/gen", "src/node_modules", "private", "a/.cache", "kept/new",
    }  # fmt: skip


async def test_a_batch_of_directories(ruled: Path):
    """One process answers for all, those inside an ignored one and those that have gone included."""
    git = Git()
    asked = frozenset(
        {
            "node_modules", "node_modules/a", "src", "src/gen", "logs", "kept", "plain/deep",
            "gone/node_modules", "a/.cache/z", "new\nline", "gone/private/deep",
        }
    )  # fmt: skip
    found = await GitIgnoreOracle(git).ignored_among(str(ruled), asked)
    assert found == {
        "node_modules", "node_modules/a", "src/gen", "gone/node_modules", "a/.cache/z",
        "gone/private/deep",
    }  # fmt: skip
    assert git.statistics().processes["check-ignore"] == 1
    assert await GitIgnoreOracle(git).ignored_among(str(ruled), frozenset()) == frozenset()


async def test_names_that_are_not_utf8(ruled: Path):
    """File system names come back as they went in."""
    name = os.fsdecode(b"caf\xe9")
    (ruled / name / "node_modules").mkdir(parents=True)
    (ruled / name / "node_modules" / "x").write_text("")
    oracle = GitIgnoreOracle(Git())
    assert f"{name}/node_modules" in await oracle.ignored_directories(str(ruled))
    asked = frozenset({name, f"{name}/node_modules"})
    assert await oracle.ignored_among(str(ruled), asked) == {f"{name}/node_modules"}


async def test_a_question_that_git_refuses(ruled: Path, tmp_path: Path):
    """One directory inside a submodule or behind a link does not spoil the answer for the others."""
    make_repository(tmp_path / "library")
    run_git(
        ruled,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "add",
        "-q",
        str(tmp_path / "library"),
        "lib",
    )
    (ruled / "link").symlink_to("src")
    oracle = GitIgnoreOracle(Git())
    asked = frozenset({"lib/src", "link/x", "src/gen", "node_modules/a/b", "src"})
    assert await oracle.ignored_among(str(ruled), asked) == {"src/gen", "node_modules/a/b"}
