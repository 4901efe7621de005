"""Which names in git directories matter."""

import pytest

from bbhost.watch.git_names import (
    Concern,
    common_dir_concern,
    config_signature,
    git_dir_concern,
    is_surveyed_in_common,
)


@pytest.mark.parametrize(
    "name",
    ["index.lock", "HEAD.lock", "commondir", "gitdir", "logs", "objects", "ORIG_HEAD", "FETCH_HEAD",
     "COMMIT_EDITMSG", "refs", "config", "locked", "fsmonitor--daemon.ipc"],
)  # fmt: skip
def test_names_that_say_nothing_in_a_git_dir(name) -> None:
    assert git_dir_concern(name) is Concern.NOTHING


@pytest.mark.parametrize(
    "name",
    ["HEAD", "MERGE_HEAD", "CHERRY_PICK_HEAD", "rebase-merge", "rebase-apply", "BISECT_LOG"],
)
def test_names_that_are_the_state_of_the_workspace(name) -> None:
    assert git_dir_concern(name) is Concern.WORKSPACE


def test_the_index_and_the_worktree_configuration_say_more() -> None:
    assert git_dir_concern("index") == Concern.WORKSPACE | Concern.INDEX
    assert git_dir_concern("sharedindex.abc") == Concern.WORKSPACE | Concern.INDEX
    assert git_dir_concern("config.worktree") == Concern.WORKSPACE | Concern.RULES


@pytest.mark.parametrize(
    ("directory", "name", "concern"),
    [
        ("", "HEAD", Concern.REFS),
        ("", "packed-refs", Concern.REFS),
        ("", "packed-refs.lock", Concern.NOTHING),
        ("", "shallow", Concern.REFS),
        ("", "config", Concern.CONFIG),
        ("", "index", Concern.NOTHING),
        ("", "worktrees", Concern.NOTHING),
        ("info", "exclude", Concern.RULES),
        ("info", "attributes", Concern.WORKSPACE),
        ("refs", "heads", Concern.REFS),
        ("refs", "bbhost", Concern.NOTHING),
        ("refs/heads", "main", Concern.REFS),
        ("refs/heads", "main.lock", Concern.NOTHING),
        ("refs/remotes/origin", "HEAD", Concern.REFS),
        ("reftable", "tables.list", Concern.REFS),
    ],
)
def test_names_in_the_common_dir(directory, name, concern) -> None:
    assert common_dir_concern(directory, name) == concern


@pytest.mark.parametrize(
    ("directory", "surveyed"),
    [
        ("refs", True),
        ("refs/heads/feature/deep", True),
        ("refs/remotes/origin", True),
        ("info", True),
        ("objects", False),
        ("objects/ab", False),
        ("worktrees", False),
        ("worktrees/one", False),
        ("refs/bbhost", False),
        ("logs/refs/heads", False),
    ],
)
def test_directories_of_the_common_dir_that_are_watched(directory, surveyed) -> None:
    assert is_surveyed_in_common(directory) is surveyed


def test_branch_and_remote_sections_do_not_change_the_signature() -> None:
    before = b"[core]\n\tbare = false\n"
    grown = before + b'[branch "a"]\n\tmerge = refs/heads/a\n[remote "o"]\n\turl = x\n'
    assert config_signature(before) == config_signature(grown)


def test_everything_else_changes_the_signature() -> None:
    before = b"[core]\n\tbare = false\n"
    for more in (b"\texcludesFile = x\n", b"[include]\n\tpath = y\n", b"[status]\n\tz = 1\n"):
        assert config_signature(before) != config_signature(before + more)
    hidden = b'[branch "a"]\n\tmerge = x\n[core]\n\texcludesFile = x\n'
    assert config_signature(before) != config_signature(before + hidden)
