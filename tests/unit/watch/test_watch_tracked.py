"""Whether the index has files below a directory, asked of real indexes."""

import subprocess
from pathlib import Path

import pytest

from bbhost.watch.tracked import index_may_contain


def make_index(path: Path, files: list[str], *config: str, version: int = 2) -> str:
    subprocess.run(["git", "init", "-q", str(path)], check=True)
    for file in files:
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        (path / file).write_text(file)
    options = [part for setting in config for part in ("-c", setting)]
    git = ["git", *options, "-c", f"index.version={version}"]
    subprocess.run([*git, "add", "-A"], cwd=path, check=True)
    return str(path / ".git" / "index")


FILES = ["build/x", "src/node_modules/y", "a" * 200 + "/" + "b" * 200, "zoë/ü", "plain"]


def test_directories_with_entries_are_found(tmp_path) -> None:
    index = make_index(tmp_path, FILES)
    for directory in ("build", "src", "src/node_modules", "a" * 200, "zoë"):
        assert index_may_contain(index, [directory]), directory


def test_directories_without_entries_are_not(tmp_path) -> None:
    index = make_index(tmp_path, FILES)
    # `node_modules/` is part of another path, `plain` is a file, `buil` a prefix of a name.
    for directory in ("node_modules", "plain", "buil", "odules", "nothing"):
        assert not index_may_contain(index, [directory]), directory
    assert not index_may_contain(index, [])


def test_paths_longer_than_the_length_field_are_found(tmp_path) -> None:
    long = "/".join(["d" * 240] * 17) + "/f"
    index = str(tmp_path / "index")
    blob = subprocess.run(
        ["git", "hash-object", "--stdin"], input="x", capture_output=True, text=True, check=True
    ).stdout.strip()
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    subprocess.run(
        ["git", "update-index", "--add", "--cacheinfo", f"100644,{blob},{long}"],
        cwd=tmp_path,
        env={"GIT_INDEX_FILE": index, "PATH": "/usr/bin:/bin"},
        check=True,
    )
    assert index_may_contain(index, ["d" * 240])


def test_extended_entries_are_found(tmp_path) -> None:
    index = make_index(tmp_path, FILES)
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "f").write_text("x")
    subprocess.run(["git", "add", "-N", "later/f"], cwd=tmp_path, check=True)
    assert Path(index).read_bytes()[7] == 3
    assert index_may_contain(index, ["later"])
    assert index_may_contain(index, ["build"])


@pytest.mark.parametrize("setting", [4, "core.splitIndex=true"])
def test_formats_that_cannot_be_searched_say_maybe(tmp_path, setting) -> None:
    if setting == 4:
        index = make_index(tmp_path, FILES, version=4)
    else:
        index = make_index(tmp_path, FILES, setting)
    assert index_may_contain(index, ["nothing"])


def test_no_index_has_no_entries(tmp_path) -> None:
    assert not index_may_contain(str(tmp_path / "index"), ["build"])
