"""The doctor finds what was planted, and nothing where nothing is wrong."""

import os
import shutil
import sys
import time
from pathlib import Path

import pytest
import trio

from bbhost.daemon.assembly import Parts
from bbhost.daemon.config import Config
from bbhost.daemon.doctor.doctor import CHECKS, Check, examine, examine_from_outside
from bbhost.daemon.doctor.finding import Finding, Severity, to_text
from bbhost.daemon.doctor.subject import Subject
from bbhost.watch.values import WatchTarget
from bbhost.workspace.rescue_names import rescue_prefix
from tests.integration.maintenance.helpers import (
    age,
    destroy,
    look,
    of,
    plant_trash,
    provision,
    retire,
    settled,
    stray_process,
    text_of,
)
from tests.integration.workspace.scratch import git_text, make_repository, run_git

pytestmark = pytest.mark.slow
EXPECTED = {"daemon"}
"""There is no server in these tests, and the doctor says so."""


class _NothingIgnored:
    async def ignored_directories(self, root: str) -> frozenset[str]:
        return frozenset()

    async def ignored_among(self, root: str, directories: frozenset[str]) -> frozenset[str]:
        return frozenset()


async def test_a_sound_daemon_is_clean(parts: Parts, repo: Path) -> None:
    """Every check answers, and none has a complaint, with environments live, destroyed and retired."""
    await provision(parts, "env_one", repo)
    two = await provision(parts, "env_two", repo)
    await provision(parts, "env_three", repo)
    await destroy(parts, "env_two", two)
    await retire(parts, "env_three")
    await settled(parts)
    report = await look(parts)
    assert {finding.check for finding in report.findings} == {check.name for check in CHECKS}
    bad = [f for f in report.findings if f.severity > Severity.INFO and f.check not in EXPECTED]
    assert bad == []
    assert report.by_daemon
    assert "all " in text_of([f for f in report.findings if f.check == "watches"])


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is for Linux")
async def test_a_watch_that_nobody_owns_is_found(parts: Parts, repo: Path, tmp_path: Path) -> None:
    """A watch of another instance in the same process is an error."""
    import inotify_simple

    await provision(parts, "env_one", repo)
    await settled(parts)
    other = inotify_simple.INotify()
    try:
        other.add_watch(str(tmp_path), inotify_simple.flags.MODIFY)
        found = of(await look(parts), "watches", at_least=Severity.ERROR)
        assert len(found) == 1
        assert str(tmp_path.stat().st_ino) in text_of(found)
    finally:
        other.close()
    assert of(await look(parts), "watches", at_least=Severity.ERROR) == []


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is for Linux")
async def test_a_watch_of_no_environment_is_found(
    parts: Parts, repo: Path, tmp_path: Path
) -> None:
    """The watcher watches a directory on purpose, but no ready environment has it."""
    await provision(parts, "env_one", repo)
    other = make_repository(tmp_path / "other")
    target = WatchTarget(str(other), str(other / ".git"), str(other / ".git"))
    async with parts.watches.open_watch(target, _NothingIgnored()):
        await settled(parts)
        found = of(await look(parts), "watches", at_least=Severity.ERROR)
        assert str(other / "src") in text_of(found)
    assert of(await look(parts), "watches", at_least=Severity.ERROR) == []


async def test_an_owner_too_many_and_one_too_few_are_found(parts: Parts, repo: Path) -> None:
    """Tasks and records are compared by id and incarnation."""
    await provision(parts, "env_one", repo)
    actor = parts.supervisor._actors["env_one"]
    async with trio.open_nursery() as ghosts:
        ghosts.start_soon(trio.sleep_forever, name="environment env_ghost.3")
        found = text_of(of(await look(parts), "owners"))
        assert "env_ghost.3 has an owner, but is not live" in found
        ghosts.cancel_scope.cancel()
    assert of(await look(parts), "owners") == []
    assert actor is parts.supervisor._actors["env_one"]


async def test_a_process_that_outlived_its_environment_is_found(parts: Parts) -> None:
    """It carries our mark, and is in no live boundary."""
    async with stray_process(parts) as pid:
        found = of(await look(parts), "processes")
        assert [finding.severity for finding in found] == [Severity.ERROR]
        assert f"pid {pid}" in text_of(found)
        assert "env_stray.1" in text_of(found)
    assert of(await look(parts), "processes") == []


async def test_processes_of_live_environments_are_no_finding(parts: Parts, repo: Path) -> None:
    """What runs in a live boundary belongs there."""
    path = await provision(parts, "env_one", repo)
    actor = parts.supervisor.actor("env_one")
    assert actor is not None
    await actor.boundary.open_process(["sleep", "60"], cwd=path)
    assert of(await look(parts), "processes") == []
    await actor.boundary.end(0)


async def test_a_missing_workspace_is_found(parts: Parts, repo: Path) -> None:
    """The record says ready, the disk says nothing."""
    path = await provision(parts, "env_one", repo)
    shutil.rmtree(path)
    found = of(await look(parts), "worktrees", at_least=Severity.ERROR)
    assert str(path) in text_of(found)


async def test_directories_without_a_record_are_found(parts: Parts, repo: Path) -> None:
    """A worktree that no record names, and one that a tombstone calls destroyed."""
    two = await provision(parts, "env_two", repo)
    await destroy(parts, "env_two", two)
    run_git(repo, "worktree", "add", "-q", "--detach", str(two))
    strange = parts.data_dir / "worktrees" / "env_strange" / "demo"
    run_git(repo, "worktree", "add", "-q", "--detach", str(strange))
    found = of(await look(parts), "worktrees")
    assert "worktrees/env_two/demo: the tombstone of env_two.1 says destroy" in text_of(found)
    assert "worktrees/env_strange/demo: no record names it" in text_of(found)


async def test_a_registration_without_files_is_found(parts: Parts, repo: Path) -> None:
    """Git remembers a worktree whose directory is gone."""
    await provision(parts, "env_one", repo)
    gone = parts.data_dir / "worktrees" / "env_gone" / "demo"
    run_git(repo, "worktree", "add", "-q", "--detach", str(gone))
    shutil.rmtree(gone.parent)
    found = text_of(of(await look(parts), "worktrees"))
    assert "1 worktrees are registered in git without files and without a record" in found


async def test_a_stale_git_lock_is_found_and_a_held_one_is_not(parts: Parts, repo: Path) -> None:
    """Old, and open in no process."""
    path = await provision(parts, "env_one", repo)
    lock = Path(git_text(path, "rev-parse", "--absolute-git-dir")) / "index.lock"
    with lock.open("w"):
        age(lock, 3600)
        assert of(await look(parts), "git_locks") == []
    found = of(await look(parts), "git_locks")
    assert str(lock) in text_of(found)
    assert f"rm {lock}" in found[0].remedy
    age(lock, 5)
    assert of(await look(parts), "git_locks") == []


async def test_an_old_temporary_worktree_is_found(parts: Parts) -> None:
    """No merge takes hours."""
    left = parts.data_dir / "temporary-worktrees" / "bbhost-merge-0123456789ab"
    left.mkdir(parents=True)
    assert of(await look(parts), "temporary_worktrees") == []
    age(left, 3 * 3600)
    assert str(left) in text_of(of(await look(parts), "temporary_worktrees"))


async def test_trash_that_is_not_emptied_is_found(parts: Parts) -> None:
    """Past its time by days, and one entry without a note."""
    entry = plant_trash(parts, "env_old", days_ago=30)
    nameless = parts.data_dir / "trash" / "nameless"
    nameless.mkdir()
    found = text_of(of(await look(parts), "trash"))
    assert str(entry) in found
    assert str(nameless) in found


async def test_old_rescues_are_found(parts: Parts, repo: Path) -> None:
    """A rescue from 2001 should have been dropped; a new one is only told of."""
    await provision(parts, "env_one", repo)
    tree = git_text(repo, "rev-parse", "HEAD^{tree}")
    for name, date in (
        ("env_old", "@1000000000 +0000"),
        ("env_new", f"@{int(time.time())} +0000"),
    ):
        os.environ["GIT_COMMITTER_DATE"] = date
        commit = run_git_dated(repo, tree, date)
        run_git(repo, "update-ref", f"{rescue_prefix(name, 1)}worktree", commit)
    found = of(await look(parts), "rescues")
    assert [finding.severity for finding in found] == [Severity.WARNING, Severity.INFO]
    assert "env_old/1" in found[0].evidence[0]
    assert "env_new/1" in found[1].evidence[0]


def run_git_dated(repo: Path, tree: str, date: str) -> str:
    """Make a commit of a given time."""
    import subprocess

    env = {**os.environ, "GIT_COMMITTER_DATE": date, "GIT_AUTHOR_DATE": date}
    del os.environ["GIT_COMMITTER_DATE"]
    done = subprocess.run(
        ["git", "commit-tree", "-m", "x", tree], cwd=repo, env=env, capture_output=True, check=True
    )
    return done.stdout.decode().strip()


async def test_a_key_that_others_can_read_is_found(parts: Parts) -> None:
    """The host's key with mode 0644."""
    key = parts.data_dir / "auth.json"
    key.write_text("{}")
    key.chmod(0o644)
    found = of(await look(parts), "file_modes")
    assert found[0].severity is Severity.ERROR
    assert found[0].remedy == f"chmod 0600 {key}"
    key.chmod(0o600)
    assert of(await look(parts), "file_modes") == []


async def test_a_damaged_journal_is_found_from_outside(config: Config) -> None:
    """No daemon runs; the file has been overwritten in the middle."""
    from bbhost.journal.journal import open_journal

    config.data_dir.mkdir(mode=0o700)
    path = config.data_dir / "bbhost.sqlite"
    async with open_journal(path) as journal:
        for number in range(200):
            await journal.set_fact(f"key {number}", "x" * 200)
    report = await examine_from_outside(config)
    assert of(report, "journal") == []
    content = bytearray(path.read_bytes())
    for start in range(4096 * 2, len(content), 4096):
        content[start : start + 64] = b"\xff" * 64
    path.write_bytes(content)
    report = await examine_from_outside(config)
    found = of(report, "journal")
    assert found
    assert found[0].severity is Severity.ERROR
    assert report.exit_code == 2
    assert path.read_bytes() == content, "looking changes nothing"


async def test_looking_from_outside_changes_nothing_and_takes_no_lock(
    parts: Parts, repo: Path
) -> None:
    """The records of a daemon that runs are read beside it."""
    await provision(parts, "env_one", repo)
    strange = parts.data_dir / "worktrees" / "strange"
    strange.mkdir()
    report = await examine_from_outside(parts.config)
    assert not report.by_daemon
    assert "worktrees/strange: no record" in text_of(of(report, "worktrees"))
    assert "env_one" not in text_of(of(report, "worktrees"))
    assert "no daemon runs" in text_of(of(report, "daemon"))


async def test_a_check_that_hangs_is_a_finding(parts: Parts) -> None:
    """The others answer; the examination takes no longer than the deadline."""

    async def hang(_subject: Subject) -> list[Finding]:
        await trio.sleep_forever()
        raise AssertionError

    async def hang_in_a_thread(subject: Subject) -> list[Finding]:
        await subject.look(time.sleep, 3.0)
        raise AssertionError

    async def break_down(_subject: Subject) -> list[Finding]:
        raise RuntimeError("a defect")

    checks = (
        Check("hangs", hang),
        Check("hangs_in_a_thread", hang_in_a_thread),
        Check("breaks", break_down),
        next(check for check in CHECKS if check.name == "disk"),
    )
    with trio.fail_after(2):
        report = await examine(
            Subject(parts.config, parts.git, parts), deadline_seconds=0.2, checks=checks
        )
    assert [(f.check, f.severity) for f in report.findings[:3]] == [
        ("hangs", Severity.ERROR),
        ("hangs_in_a_thread", Severity.ERROR),
        ("breaks", Severity.ERROR),
    ]
    assert "no answer within 0.2 s" in report.findings[0].what
    assert len(report.findings) == 4
    assert "hangs" in to_text(report.to_json())
