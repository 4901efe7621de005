"""Looking into a journal without owning it: for the doctor, beside a daemon that runs or where none does.

Nothing is written, upgraded or locked for longer than a read. Blocking: call it from a thread.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from attrs import frozen

from bbhost.domain.environment import EnvironmentRecord
from bbhost.errors import JournalError
from bbhost.journal import tables
from bbhost.journal.records import decode_environment
from bbhost.journal.schema import APPLICATION_ID, STEPS, journal_error

BUSY_SECONDS = 2.0
"""Wait for a writer that holds the file; readers of a write-ahead log hardly ever do."""


@frozen
class JournalCheckup:
    """What an examination of the file found."""

    version: int
    """Of the schema; 0 for an empty file."""
    problems: tuple[str, ...]
    """What SQLite's own check says is wrong; empty when the file is sound."""
    file_bytes: int
    outbox: int
    """Results that the server has not acknowledged."""
    inbox: int
    """Commands without a result."""
    spooled_events: int
    refused_events: int
    """Events that the server would not take, kept for diagnosis."""


def read_environments(path: Path) -> list[EnvironmentRecord]:
    """Return the environments on record; none where there is no journal.

    Raises:
        JournalError: the file cannot be read.
    """
    if not path.exists():
        return []
    with _reading(path) as connection:
        if not _version(connection, path):
            return []
        return [decode_environment(text) for text in tables.environments(connection)]


def check_journal(path: Path) -> JournalCheckup:
    """Examine the file: SQLite's quick check, and how much waits in it.

    Raises:
        JournalError: it cannot be read, or is not a journal that this version understands.
    """
    with _reading(path) as connection:
        version = _version(connection, path)
        rows = [str(verdict) for (verdict,) in connection.execute("PRAGMA quick_check(5)")]
        counts = [
            _count(connection, name) if version else 0
            for name in ("outbox", "inbox", "spool", "refused_events")
        ]
        problems = tuple(row for row in rows if row != "ok")
        return JournalCheckup(version, problems, path.stat().st_size, *counts)


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(_connect(path)) as connection:
            yield connection
    except (sqlite3.Error, OSError) as error:
        raise journal_error(path, error) from error


def _connect(path: Path) -> sqlite3.Connection:
    """Open read-only; where the directory cannot be written, as a file that nobody changes."""
    name = f"file:{quote(str(path.absolute()))}"
    connection = sqlite3.connect(f"{name}?mode=ro", uri=True, timeout=BUSY_SECONDS)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        if path.with_name(path.name + "-wal").exists():
            raise
        connection = sqlite3.connect(f"{name}?mode=ro&immutable=1", uri=True)
    return connection


def _version(connection: sqlite3.Connection, path: Path) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if version and application_id != APPLICATION_ID:
        raise JournalError(f"journal {path}: this is a database of another program")
    if version > len(STEPS):
        raise JournalError(f"journal {path}: written by a newer bbhost (version {version})")
    return int(version)


def _count(connection: sqlite3.Connection, table: str) -> int:
    # A journal of an older version may not have the table yet. The names are ours.
    found = connection.execute(
        "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", (table,)
    ).fetchone()
    if found is None:
        return 0
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
    return int(count)
