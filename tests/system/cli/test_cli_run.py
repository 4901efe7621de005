"""``bbhost run`` and what becomes of the work, by flags and at a terminal."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cli.conftest import CommandLine, end, make_place
from tests.system.cli.test_cli_terminal import Screen, screen

pytestmark = pytest.mark.slow
PROVIDER = """
[providers.writer]
kind = "command"
argv = ["sh", "-c", 'echo "on it: $1"; case $1 in nothing) ;; fail) exit 3 ;; *) echo "$1" > work.txt ;; esac', "agent", "{prompt}"]
"""
IDENTITY = """
[user]
name = Dev
email = dev@example.invalid
"""
CHOICES = b"x = destroy, k or Enter = keep]"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """``bbhost up`` with an agent that writes a file."""
    cli = make_place(tmp_path_factory.mktemp("run"))
    with (cli.place / "config.toml").open("a") as config:
        config.write(PROVIDER)
    with (cli.repository / ".git" / "config").open("a") as config:
        config.write(IDENTITY)
    process = cli.start("up", "--port", "0", "--json")
    assert process.stdout is not None
    try:
        told = json.loads(process.stdout.readline() or "{}")
        assert told.get("outcome") == "ok", process.stderr.read() if process.stderr else ""
        yield cli
    finally:
        end(process)


def git(where: Path, *arguments: str) -> str:
    """What git says."""
    done = subprocess.run(
        ["git", *arguments], cwd=where, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def arguments(up: CommandLine, *more: str) -> tuple[str, ...]:
    """A use of ``bbhost run``."""
    return ("run", "--repo", str(up.repository), "--provider", "writer", *more)


def test_without_a_terminal_the_work_is_kept(up: CommandLine) -> None:
    """It says where it is and how to go on; nothing was committed."""
    done = up.run(*arguments(up, "keep this"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["--- turn", "on it: keep this", "--- completed"]
    assert "(kept: environment env_" in done.stderr
    assert "bbhost env destroy env_" in done.stderr
    (found,) = up.json("env", "ls")["environments"]
    workspace = Path(found["workspacePath"])
    assert (workspace / "work.txt").read_text() == "keep this\n"
    assert git(workspace, "status", "--porcelain") == "?? work.txt"
    up.json("env", "destroy", found["id"])


def test_scripts_commit_merge_and_destroy_in_order(up: CommandLine) -> None:
    """Each step has an enumerated outcome; the branch has the work and the environment has gone."""
    steps = ("--then", "commit", "--then", "merge", "--then", "destroy")
    done = up.json(*arguments(up, *steps, "-m", "Add the work", "merge this"))
    assert (done["outcome"], done["turnStatus"], done["ending"]) == (
        "ok",
        "completed",
        "destroyed",
    )
    assert [(one["deed"], one["outcome"]) for one in done["then"]] == [
        ("commit", "done"),
        ("merge", "done"),
        ("destroy", "done"),
    ]
    assert git(up.repository, "rev-parse", "main") == done["then"][1]["commitSha"]
    assert git(up.repository, "log", "-1", "--format=%s", "main") == "Add the work"
    assert (up.repository / "work.txt").read_text() == "merge this\n"
    assert not Path(done["path"]).exists()


def test_scripts_with_nothing_to_save(up: CommandLine) -> None:
    """No changes: that is an outcome of its own and no failure."""
    steps = ("--then", "commit", "--then", "merge", "--then", "destroy")
    before = git(up.repository, "rev-parse", "main")
    done = up.json(*arguments(up, *steps, "nothing"))
    assert [one["outcome"] for one in done["then"]] == ["nothing_to_do", "nothing_to_do", "done"]
    assert git(up.repository, "rev-parse", "main") == before


def test_a_failed_turn_is_not_merged_and_not_lost(up: CommandLine) -> None:
    """What was to be merged before it is destroyed is neither; a plain destroy is carried out."""
    done = up.json(*arguments(up, "--then", "merge", "--then", "destroy", "fail"), code=1)
    assert (done["outcome"], done["turnStatus"], done["ending"]) == ("failed", "failed", "kept")
    assert [one["outcome"] for one in done["then"]] == ["skipped", "skipped"]
    assert Path(done["path"]).is_dir()
    up.json("env", "destroy", done["environmentId"])
    gone = up.json(*arguments(up, "--destroy", "fail"), code=1)
    assert gone["ending"] == "destroyed"
    missing = up.json("run", "--repo", str(up.repository), "--provider", "none", "x", code=1)
    assert missing["error"]["code"] == "unknown_provider"
    assert missing["ending"] == "kept"
    up.json("env", "destroy", missing["environmentId"])


def test_a_merge_that_is_refused(up: CommandLine) -> None:
    """The target is dirty: the step failed, says why, and nothing is destroyed."""
    (up.repository / "file.txt").write_text("changed by hand\n")
    steps = ("--then", "merge", "--then", "destroy")
    done = up.json(*arguments(up, *steps, "refuse this"), code=1)
    merge, destroy = done["then"]
    assert (merge["outcome"], merge["error"]["code"]) == ("failed", "dirty_target_branch")
    assert destroy["outcome"] == "skipped"
    git(up.repository, "checkout", "-q", "file.txt")
    up.json("env", "destroy", done["environmentId"])


@pytest.mark.parametrize(
    "words", [("explode",), ("keep", "destroy"), ("destroy", "merge")], ids=" ".join
)
def test_steps_that_make_no_sense(up: CommandLine, words: tuple[str, ...]) -> None:
    """They are refused before anything is made."""
    steps = [part for word in words for part in ("--then", word)]
    done = up.run(*arguments(up, *steps, "x"))
    assert done.returncode == 2
    assert "--then" in done.stderr
    assert up.json("env", "ls")["environments"] == []


def answer(one: Screen, question: bytes, keys: bytes) -> bytes:
    """Wait for a question and answer it; what was shown up to it."""
    shown = one.wait(question)
    one.type(keys + b"\n")
    return shown


def test_at_a_terminal_diff_commit_merge_and_destroy(up: CommandLine) -> None:
    """Each is offered until the work is gone; control characters of the work are only shown."""
    with screen(up, *arguments(up, "clear \x1b[2J it")) as one:
        shown = answer(one, CHOICES, b"d")
        assert b"on it: clear \\x1b[2J it" in shown
        assert b"= 1 file changed" in shown
        shown = answer(one, CHOICES, b"c")
        assert b"+clear \\x1b[2J it" in shown
        assert b"\x1b[2J" not in shown
        answer(one, b"? Message? [Enter = clear \\x1b[2J it]", b"Write it down")
        assert b"= committed" in answer(one, CHOICES, b"what")
        answer(one, CHOICES, b"c")
        shown = answer(one, CHOICES, b"m")
        assert b"= nothing to commit" in shown
        assert b"1 commit ahead of main" in shown
        answer(one, b"? Message?", b"Merge it")
        one.wait(b"= merged into main as")
        assert b"= no changes" in answer(one, CHOICES, b"m")
        assert b"= nothing to merge" in answer(one, CHOICES, b"x")
        one.wait(b"= the environment is destroyed")
        assert one.finish() == 0
    assert git(up.repository, "log", "-1", "--format=%s", "main") == "Merge it"
    assert up.json("env", "ls")["environments"] == []


def test_at_a_terminal_work_is_not_lost_by_a_key(up: CommandLine) -> None:
    """Destroying what was not merged asks once more; Enter keeps."""
    with screen(up, *arguments(up, "precious")) as one:
        answer(one, CHOICES, b"x")
        answer(one, b"Destroy? [y = yes]", b"")
        answer(one, CHOICES, b"")
        one.wait(b"(kept: environment env_")
        assert one.finish() == 0
    (found,) = up.json("env", "ls")["environments"]
    with screen(up, *arguments(up, "fail")) as two:
        assert b"--- failed" in answer(two, CHOICES, b"x")
        two.wait(b"= the environment is destroyed")
        assert two.finish() == 1
    up.json("env", "destroy", found["id"])
