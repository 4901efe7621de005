"""Opening: upgrades, and files that must not be touched."""

import sqlite3
import stat
from pathlib import Path

import pytest

from bbhost.errors import JournalError
from bbhost.journal.journal import open_journal
from bbhost.journal.schema import APPLICATION_ID, STEPS, open_database
from tests.unit.journal.test_journal import environment

JOURNAL_V1 = Path(__file__).with_name("journal-v1.sql")
"""A journal as the first version wrote it, as SQL."""


def write_version_1(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(JOURNAL_V1.read_text())
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    connection.close()


@pytest.mark.slow
async def test_a_journal_of_the_first_version_is_upgraded_with_all_it_holds(
    journal_path: Path,
) -> None:
    write_version_1(journal_path)
    async with open_journal(journal_path) as journal:
        assert [record.environment_id for record in await journal.environments()] == [
            "env_bsprvdx2t7",
            "env_hpe4zt6kbd",
        ]
        assert [item.command_id for item in await journal.pending_commands()] == ["hcmd_2"]
        assert [item.command_id for item in await journal.outbox(9)] == ["hcmd_1"]
        (waiting,) = await journal.spooled_events(9)
        await journal.refuse_event(waiting.producer_event_id, "a table that version 1 lacks")
        assert await journal.spooled_events(9) == []


@pytest.mark.slow
def test_an_upgrade_that_fails_changes_nothing(journal_path: Path) -> None:
    write_version_1(journal_path)
    with pytest.raises(JournalError):
        open_database(journal_path, steps=[STEPS[0], "CREATE TABLE t (x); SELECT nonsense"])
    connection = sqlite3.connect(journal_path)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema")]
    connection.close()
    assert "t" not in names


def test_the_file_is_private(journal_path: Path) -> None:
    connection = open_database(journal_path)
    connection.execute("INSERT INTO facts VALUES ('a', 'b')")
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in journal_path.parent.iterdir()
    }
    connection.close()
    assert set(modes.values()) == {0o600}
    assert len(modes) == 3


@pytest.mark.parametrize("content", [b"not a database, but long enough to be one" * 10, b"x"])
def test_a_file_that_is_no_database_is_left_alone(journal_path: Path, content: bytes) -> None:
    journal_path.write_bytes(content)
    with pytest.raises(JournalError, match="Move it away") as caught:
        open_database(journal_path)
    assert str(journal_path) in caught.value.message
    assert journal_path.read_bytes() == content
    assert [path.name for path in journal_path.parent.iterdir()] == [journal_path.name]


def test_a_database_of_another_program_is_left_alone(journal_path: Path) -> None:
    connection = sqlite3.connect(journal_path)
    connection.execute("CREATE TABLE songs (title)")
    connection.close()
    before = journal_path.read_bytes()
    with pytest.raises(JournalError, match="another program"):
        open_database(journal_path)
    assert journal_path.read_bytes() == before


def test_a_newer_journal_is_left_alone(journal_path: Path) -> None:
    open_database(journal_path, steps=[*STEPS, "CREATE TABLE future (x)"]).close()
    before = journal_path.read_bytes()
    with pytest.raises(JournalError, match="newer bbhost"):
        open_database(journal_path)
    assert journal_path.read_bytes() == before


@pytest.mark.slow
def test_a_damaged_journal_is_left_alone(journal_path: Path) -> None:
    connection = open_database(journal_path)
    with connection:
        connection.executemany(
            "INSERT INTO facts VALUES (?, ?)", ((f"k{n}", "v" * 500) for n in range(200))
        )
    connection.close()
    damaged = bytearray(journal_path.read_bytes())
    for page in range(10, 30):
        damaged[page * 4096 : page * 4096 + 200] = b"\xaa" * 200
    journal_path.write_bytes(damaged)
    with pytest.raises(JournalError, match="damaged") as caught:
        open_database(journal_path)
    assert str(journal_path) in caught.value.message
    assert journal_path.read_bytes() == damaged


def test_a_directory_that_does_not_exist_is_said_clearly(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="must be able to write"):
        open_database(tmp_path / "missing" / "journal.sqlite3")


@pytest.mark.slow
async def test_a_full_disk_refuses_whole_writes_and_passes(journal_path: Path) -> None:
    """The size limit answers like a full disk (SQLITE_FULL)."""
    async with open_journal(journal_path, size_limit_bytes=200_000) as journal:
        await journal.save_environment(environment("env_1"))
        with pytest.raises(JournalError, match="make room"):
            await journal.save_environment(environment("env_2", detail="x" * 400_000))
        await journal.save_environment(environment("env_3", detail="x" * 40_000))
        assert [item.environment_id for item in await journal.environments()] == [
            "env_1",
            "env_3",
        ]
        for number in range(100):
            try:
                await journal.set_fact(f"f{number}", "y" * 3_000)
            except JournalError:
                break
        else:
            pytest.fail("the limit was not enforced")
        await journal.forget_environment(environment("env_3").environment_id)
        await journal.set_fact("again", "y" * 3_000)
        assert await journal.get_fact("again") is not None
