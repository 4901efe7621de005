"""The place all git goes through: results, failures, deadlines, cancellation, counts."""

import os
import signal
from pathlib import Path

import pytest
import trio

from bbhost.errors import BbhostError, GitCommandError, GitTimeoutError, PathNotFoundError
from bbhost.workspace.git import Git, GitOutputError
from tests.integration.workspace.scratch import run_git


def sleeping_git(tmp_path: Path) -> tuple[Path, Path]:
    """A program in the place of git that says its pid and does not end by itself."""
    pids = tmp_path / "pids"
    os.mkfifo(pids)
    program = tmp_path / "slow-git"
    program.write_text(f"#!/bin/sh\nsleep 600 &\necho $$ $! > {pids}\nwait\n")
    program.chmod(0o755)
    return program, pids


async def wait_gone(pidfds: list[int]) -> None:
    """Wait until the processes have ended; a pidfd becomes readable then."""
    with trio.fail_after(10):
        for pidfd in pidfds:
            await trio.lowlevel.wait_readable(pidfd)
            os.close(pidfd)


async def open_pids(pids: Path) -> list[int]:
    """Read the pids the program says and hold on to these very processes."""
    text = await trio.to_thread.run_sync(pids.read_text)
    return [os.pidfd_open(int(pid)) for pid in text.split()]


async def test_result_and_counts(repo: Path):
    """stdout and stderr come as bytes; children are counted by verb."""
    git = Git()
    result = await git.run("rev-parse", "HEAD", cwd=repo)
    assert result.returncode == 0
    assert len(result.stdout) == 41
    await git.run("rev-parse", "HEAD", cwd=repo)
    fed = await git.run("hash-object", "--stdin", cwd=repo, stdin=b"")
    assert fed.stdout.startswith(b"e69de29")
    counts = git.statistics()
    assert counts.processes["rev-parse"] == 2
    assert counts.processes["hash-object"] == 1
    assert (counts.running, counts.waiting) == (0, 0)


async def test_failure_names_the_command_and_what_git_said(repo: Path):
    """The message shows the arguments of the caller, not what hardening added."""
    git = Git()
    with pytest.raises(GitCommandError) as caught:
        await git.run("diff", "no-such-thing", cwd=repo)
    assert caught.value.message.startswith(
        "git diff no-such-thing failed: fatal: ambiguous argument"
    )
    assert caught.value.code == "git_command_failed"
    unchecked = await git.run("diff", "no-such-thing", cwd=repo, check=False)
    assert unchecked.returncode == 128
    accepted = await git.run("diff", "--quiet", "no-such-thing", cwd=repo, ok_codes=(0, 128))
    assert accepted.returncode == 128


async def test_output_beyond_the_limit_is_a_failure(repo: Path):
    """Half an output is never taken for a whole one, unless it is taken piecewise."""
    git = Git()
    with pytest.raises(GitOutputError):
        await git.run("rev-parse", "HEAD", cwd=repo, output_limit=10)
    pieces: list[bytes] = []
    await git.run("rev-parse", "HEAD", cwd=repo, output_limit=10, on_output=pieces.append)
    assert len(b"".join(pieces)) == 41


@pytest.mark.slow
async def test_deadline_ends_the_child_and_its_children(repo: Path, tmp_path: Path):
    """A child beyond its deadline is ended with its process group, and the error says so."""
    program, pids = sleeping_git(tmp_path)
    git = Git(executable=str(program))
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            found: list[int] = []

            async def read_pids() -> None:
                found.extend(await open_pids(pids))

            nursery.start_soon(read_pids)
            with pytest.raises(GitTimeoutError) as caught:
                # Outside any repository, so that no scan of its configuration comes first.
                await git.run("status", cwd=tmp_path, timeout_seconds=0.5)
    assert caught.value.code == "git_command_timeout"
    assert "git status took longer than 0.5 seconds" in caught.value.message
    assert len(found) == 2
    await wait_gone(found)


async def test_cancellation_reaches_the_child(tmp_path: Path):
    """When the caller is cancelled, git and what it started are gone before the call returns."""
    program, pids = sleeping_git(tmp_path)
    git = Git(executable=str(program))
    found: list[int] = []
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:

            async def read_pids() -> None:
                found.extend(await open_pids(pids))
                nursery.cancel_scope.cancel()

            nursery.start_soon(read_pids)
            await git.run("status", cwd=tmp_path)
    assert len(found) == 2
    await wait_gone(found)
    assert git.statistics().running == 0


async def test_no_more_children_at_a_time_than_the_limit(tmp_path: Path, repo: Path):
    """Those who ask for more wait for a slot."""
    program, pids = sleeping_git(tmp_path)
    git = Git(executable=str(program), processes_at_once=1)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(lambda: git.run("status", cwd=tmp_path))
            await trio.to_thread.run_sync(pids.read_text)
            counts = git.statistics()
            nursery.cancel_scope.cancel()
    assert counts.running == 1
    assert counts.waiting == 2
    assert counts.total == 1


async def test_a_missing_directory_and_a_missing_git_are_told_apart(tmp_path: Path, repo: Path):
    """Both are ENOENT to the kernel; to the server one is a path, the other an executable."""
    with pytest.raises(PathNotFoundError):
        await Git().run("status", cwd=tmp_path / "missing")
    with pytest.raises(BbhostError) as caught:
        await Git(executable=str(tmp_path / "no-git")).run("status", cwd=tmp_path)
    assert caught.value.code == "missing_executable"


async def test_git_dir_names_the_repository(repo: Path, tmp_path: Path):
    """With ``git_dir`` the directory does not matter; its configuration is scanned all the same."""
    run_git(repo, "config", "alias.x", "!false")
    git = Git()
    shown = await git.run("rev-parse", "main", cwd=tmp_path, git_dir=repo / ".git")
    assert len(shown.stdout) == 41
    assert (await git.scan(tmp_path, git_dir=repo / ".git")).disarmed == ("alias.x",)


async def test_extra_config_wins(repo: Path):
    """What the caller sets comes after everything else."""
    shown = await Git().run(
        "config", "core.hooksPath", cwd=repo, extra_config=[("core.hooksPath", "/mine")]
    )
    assert shown.stdout == b"/mine\n"


async def test_a_child_killed_by_a_signal_says_so(tmp_path: Path):
    """Without a word on stderr the message names the signal."""
    program = tmp_path / "dying-git"
    program.write_text("#!/bin/sh\nkill -9 $$\n")
    program.chmod(0o755)
    with pytest.raises(GitCommandError) as caught:
        await Git(executable=str(program)).run("status", cwd=tmp_path)
    assert caught.value.message == f"git status failed: ended by signal {int(signal.SIGKILL)}"
