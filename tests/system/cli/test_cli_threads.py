"""Threads from the command line, through the hub and the daemon, with agents in processes of their own."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cli.conftest import CommandLine, end, make_place
from tests.system.cli.test_cli_terminal import screen

pytestmark = pytest.mark.slow
CODEX = Path(__file__).parents[2] / "fakes" / "codex_app_server.py"
SCRIPT = """\
#!/bin/sh
# An agent of three lines: it says what it was asked, edits a file, and fails where it is told to.
echo "I was asked to: $1"
echo "$1" >> notes.txt
[ "$1" != "fail" ]
"""
CONFIG = f"""
[providers.codex]
argv = [{json.dumps(sys.executable)}, {json.dumps(str(CODEX))}]

[providers.script]
kind = "command"
argv = ["sh", "%s", "{{prompt}}"]
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """``bbhost up`` with scripted agents."""
    cli = make_place(tmp_path_factory.mktemp("threads"))
    script = cli.place / "agent.sh"
    script.write_text(SCRIPT)
    (cli.place / "config.toml").write_text(CONFIG % script)
    process = cli.start("up", "--port", "0", "--json")
    assert process.stdout is not None
    try:
        told = json.loads(process.stdout.readline() or "{}")
        assert told.get("outcome") == "ok", process.stderr.read() if process.stderr else ""
        yield cli
    finally:
        end(process)


def test_run_with_a_script(up: CommandLine) -> None:
    """A worktree, a turn, and the work in it, in one command; a turn that fails says so."""
    done = up.json("run", "--repo", str(up.repository), "--provider", "script", "write it down")
    assert (done["outcome"], done["turnStatus"]) == ("ok", "completed")
    assert (Path(done["path"]) / "notes.txt").read_text() == "write it down\n"
    status = up.json("env", "status", done["environmentId"])["workspaceStatus"]
    assert [one["path"] for one in status["workingTree"]["files"]] == ["notes.txt"]
    shown = up.run("thread", "follow", done["threadId"], "--until-idle").stdout
    assert shown.splitlines() == ["--- turn", "I was asked to: write it down", "--- completed"]
    failed = up.run("thread", "send", done["threadId"], "fail", "--wait")
    assert failed.returncode == 1
    assert "--- failed" in failed.stdout
    up.json("env", "destroy", done["environmentId"])


def test_a_conversation(up: CommandLine) -> None:
    """start, send, steer, stop, ls and follow: states and events as scripts and people see them."""
    up.json("env", "create", str(up.repository), "--name", "talk")
    begun = up.run("thread", "start", "talk", "say hello", "--provider", "codex", "--wait")
    assert begun.returncode == 0, begun.stderr
    assert begun.stdout.splitlines() == ["--- turn", "hello", "--- completed"]
    (thread,) = up.json("thread", "ls", "talk")["threads"]
    assert (thread["state"], thread["providerId"]) == ("idle", "codex")
    assert up.json("thread", "send", thread["id"], "wait")["appliedAs"] == "new-turn"
    assert up.json("thread", "steer", thread["id"], "hurry")["appliedAs"] == "steer"
    followed = up.run("thread", "follow", thread["id"], "--until-idle", "--json").stdout
    events = [json.loads(line) for line in followed.splitlines()]
    assert [one["sequence"] for one in events] == sorted(one["sequence"] for one in events)
    after = str(events[-1]["sequence"])
    rest = up.run("thread", "follow", thread["id"], "--after", after, "--until-idle").stdout
    assert "steered: hurry" in rest
    up.json("thread", "send", thread["id"], "wait")
    assert up.json("thread", "stop", thread["id"])["thread"]["id"] == thread["id"]
    (thread,) = up.json("thread", "ls", "talk")["threads"]
    assert thread["state"] in {"idle", "stopping"}
    assert up.run("thread", "send", thread["id"], "say again", "--wait").returncode == 0
    assert up.json("thread", "send", "thr_none", "x", code=4)["outcome"] == "not_found"
    up.json("env", "destroy", "talk")


@pytest.mark.parametrize(
    ("key", "decision"), [(b"y", b"accept"), (b"s", b"acceptForSession"), (b"n", b"decline")]
)
def test_a_question_is_answered_at_the_prompt(
    up: CommandLine, key: bytes, decision: bytes
) -> None:
    """Whoever follows a thread on a terminal is asked there; other keys are asked again."""
    arguments = (
        "run",
        "--repo",
        str(up.repository),
        "--provider",
        "codex",
        "--destroy",
        "approve",
    )
    with screen(up, *arguments) as one:
        asked = one.wait(b"[Enter = leave open, y = once, s = for the session, n = no]")
        assert b"? command make test (needs the network)" in asked
        one.type(b"what\n")
        one.wait(b"n = no]")
        one.type(key + b"\n")
        one.wait(b"decision " + decision)
        one.wait(b"--- completed")
        assert one.finish() == 0


def test_a_question_is_left_open_and_answered_elsewhere(up: CommandLine) -> None:
    """An empty line leaves it to ``thread approve``."""
    up.json("env", "create", str(up.repository), "--name", "asks")
    arguments = ("thread", "start", "asks", "approve", "--provider", "codex", "--wait")
    with screen(up, *arguments) as one:
        one.wait(b"n = no]")
        one.type(b"\n")
        one.wait(b"answers it)")
        (asked,) = up.json("thread", "questions")["interactions"]
        assert up.json("thread", "approve", asked["threadId"])["outcome"] == "ok"
        one.wait(b"decision accept")
        assert one.finish() == 0
    assert up.json("thread", "questions")["interactions"] == []
    up.json("env", "destroy", "asks")
