"""Scripts that a repository brings along: in their place, in bounded time, with what they say."""

import time
from pathlib import Path

import pytest

from bbhost.workspace.setup_script import run_setup_script
from bbhost.workspace.teardown_script import run_teardown_script
from bbhost.workspace.transcript import Transcript
from tests.integration.workspace.scratch import commit_all, run_git
from tests.integration.workspace.world import World


async def test_teardown_runs_in_the_workspace_and_is_told(repo: Path) -> None:
    (repo / ".bb-env-teardown.sh").write_text("pwd; cat; echo err >&2; touch done\n")
    transcript = Transcript()
    end = await run_teardown_script(repo, transcript, None)
    assert end is not None
    assert end.succeeded
    assert (repo / "done").exists()
    assert [(e.key, e.text) for e in transcript.entries] == [
        ("teardown-started", "Running .bb-env-teardown.sh"),
        ("teardown-command", "env bash .bb-env-teardown.sh"),
        ("teardown-output-1", str(repo)),
        ("teardown-output-2", "err"),
        ("teardown-completed", ".bb-env-teardown.sh finished"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "detail"),
    [("exit 7", "exit status 7"), ("kill -TERM $$", "signal 15"), ("sleep 60", "longer than")],
)
async def test_a_failing_teardown_is_told_and_never_raised(
    repo: Path, script: str, detail: str
) -> None:
    (repo / ".bb-env-teardown.sh").write_text(script)
    transcript = Transcript()
    started = time.monotonic()
    end = await run_teardown_script(repo, transcript, None, timeout_seconds=1.0)
    assert end is not None
    assert not end.succeeded
    assert detail in end.detail
    assert transcript.entries[-1].key == "teardown-failed"
    assert time.monotonic() - started < 10


async def test_without_a_script_nothing_is_told(repo: Path) -> None:
    transcript = Transcript()
    assert await run_teardown_script(repo, transcript, None) is None
    assert not await run_setup_script(repo, transcript, None, timeout_seconds=5)
    (repo / ".bb-env-setup.sh").mkdir()
    assert not await run_setup_script(repo, transcript, None, timeout_seconds=5)
    assert transcript.entries == ()


async def test_a_script_acts_on_its_own_repository(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the daemon was started with; what the user set for git otherwise stays."""
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    monkeypatch.setenv("GIT_SSH_COMMAND", "my-ssh")
    monkeypatch.setenv("BB_SECRET", "s")
    (repo / ".bb-env-setup.sh").write_text(
        "git rev-parse --show-toplevel; echo ${GIT_SSH_COMMAND-none} ${BB_SECRET-none}\n"
    )
    transcript = Transcript()
    assert await run_setup_script(repo, transcript, None, timeout_seconds=20)
    texts = [entry.text for entry in transcript.entries if "output" in entry.key]
    assert texts == [str(repo), "my-ssh none"]


async def test_filters_that_are_not_run_are_told(tmp_path: Path, repo: Path) -> None:
    """A worktree of a repository with a filter of its own has the files as git stores them."""
    world = World(tmp_path / "data", repo)
    (repo / ".gitattributes").write_text("a.txt filter=evil\n")
    commit_all(repo, "attributes")
    run_git(repo, "config", "filter.evil.smudge", f"sh -c 'touch {tmp_path}/evil; cat'")
    transcript = Transcript()
    await world.provision(transcript=transcript)
    assert "Filter evil was not run" in transcript.entries[4].text
    assert not (tmp_path / "evil").exists()
    assert (world.target() / "a.txt").exists()
