"""The journal against real faults: SIGKILL, a read-only file system, a full file system."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bbhost.errors import JournalError
from bbhost.journal.journal import open_journal
from bbhost.journal.schema import open_database
from tests.unit.journal.test_journal import environment

WRITER = """
import sys, trio
from pathlib import Path
from bbhost.journal.journal import open_journal

async def write_for_ever(journal, name):
    number = 0
    while True:
        number += 1
        await journal.set_fact(f"{name}/{number}", "x" * 200)
        print(f"{name}/{number}", flush=True)

async def main():
    async with open_journal(Path(sys.argv[1])) as journal, trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(write_for_ever, journal, name)

trio.run(main)
"""


@pytest.mark.slow
async def test_what_was_promised_is_there_after_sigkill(journal_path: Path) -> None:
    """Facts whose write had returned when the process was killed are all found again."""
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(journal_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    promised = [child.stdout.readline().strip() for _ in range(300)]
    child.send_signal(signal.SIGKILL)
    promised += child.stdout.read().splitlines()
    child.stdout.close()
    assert child.wait(10) == -signal.SIGKILL

    async with open_journal(journal_path) as journal:
        found = {
            **await journal.facts("a"),
            **await journal.facts("b"),
            **await journal.facts("c"),
        }
    # The last line may have been cut by the kill.
    assert set(promised[:-1]) <= set(found)


COMMITTER = """
import sys, trio
from pathlib import Path
from bbhost.journal.journal import open_journal

async def main():
    async with open_journal(Path(sys.argv[1])) as journal:
        await journal.set_fact("kept", "1")

trio.run(main)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "kept"), [("journal.before_commit", None), ("journal.committed", "1")]
)
async def test_a_kill_around_a_commit_leaves_all_or_nothing(
    journal_path: Path, step: str, kept: str | None
) -> None:
    child = subprocess.run(
        [sys.executable, "-c", COMMITTER, str(journal_path)],
        env={**os.environ, "BBHOST_FAULT": f"kill:{step}"},
        check=False,
    )
    assert child.returncode == -signal.SIGKILL
    async with open_journal(journal_path) as journal:
        assert await journal.get_fact("kept") == kept


@pytest.mark.slow
async def test_a_read_only_journal_is_said_clearly(journal_path: Path) -> None:
    """Root writes where it likes, so the kernel's refusal is played by SQLite's own."""
    open_database(journal_path).close()
    connection = sqlite3.connect(journal_path)
    connection.close()
    async with open_journal(journal_path) as journal:
        await journal._writer.run(lambda db: db.execute("PRAGMA query_only = ON"))
        with pytest.raises(JournalError, match="must be able to write"):
            await journal.save_environment(environment("env_1"))
        await journal._writer.run(lambda db: db.execute("PRAGMA query_only = OFF"))
        await journal.save_environment(environment("env_1"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB; only where this process may mount one."""
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)],
        check=False,
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("may not mount a file system")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


@pytest.mark.slow
async def test_a_full_file_system_refuses_and_passes(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    async with open_journal(small_disk / "journal.sqlite3") as journal:
        await journal.save_environment(environment("env_1"))
        with pytest.raises(OSError, match="space"), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        with pytest.raises(JournalError, match="make room"):
            await journal.save_environment(environment("env_2", detail="x" * 300_000))
        assert [item.environment_id for item in await journal.environments()] == ["env_1"]
        ballast.unlink()
        await journal.save_environment(environment("env_2", detail="x" * 300_000))
        assert len(await journal.environments()) == 2


async def test_a_read_only_file_system_refuses_and_passes(small_disk: Path) -> None:
    path = small_disk / "journal.sqlite3"
    open_database(path).close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(JournalError, match="must be able to write"):
        open_database(path)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    open_database(path).close()
