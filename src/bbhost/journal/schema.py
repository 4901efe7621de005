"""The journal's file: its schema, the steps from one version to the next, and how it is opened.

Rule 1: a file that is not ours, is damaged, or was written by a newer bbhost is left exactly as it
was found. Nothing is written before all checks have passed.

Rule 2: a released step is never edited; a change of the schema is a new step at the end. Each step
runs in one transaction together with the version number it leads to.
"""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bbhost.errors import JournalError

APPLICATION_ID = 0x62626873
"""Marks an SQLite file as a bbhost journal ("bbhs")."""

STEPS: Sequence[str] = (
    # 1: the first schema. Every table is read in the order of its integer key.
    """
    CREATE TABLE environments (
        environment_id TEXT PRIMARY KEY,
        incarnation INTEGER NOT NULL,
        record TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE inbox (
        seq INTEGER PRIMARY KEY,
        command_id TEXT NOT NULL UNIQUE,
        cursor INTEGER NOT NULL,
        payload TEXT NOT NULL
    );
    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        command_id TEXT NOT NULL UNIQUE,
        report TEXT NOT NULL
    );
    CREATE TABLE settled (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        command_id TEXT NOT NULL UNIQUE
    );
    CREATE TABLE spool (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        producer_event_id TEXT NOT NULL UNIQUE,
        thread_id TEXT NOT NULL,
        event TEXT NOT NULL
    );
    CREATE TABLE processes (
        pid INTEGER NOT NULL,
        start_time INTEGER NOT NULL,
        environment_id TEXT NOT NULL,
        incarnation INTEGER NOT NULL,
        boot_id TEXT NOT NULL,
        marker TEXT NOT NULL,
        PRIMARY KEY (pid, start_time)
    ) WITHOUT ROWID;
    CREATE TABLE facts (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
    # 2: events that the server refuses for good are kept for diagnosis instead of blocking others.
    """
    CREATE TABLE refused_events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        producer_event_id TEXT NOT NULL,
        thread_id TEXT NOT NULL,
        event TEXT NOT NULL,
        reason TEXT NOT NULL
    );
    """,
    # 3: terminals that outlive a restart; the pty itself is kept by the service manager.
    """
    CREATE TABLE kept_terminals (
        descriptor_name TEXT PRIMARY KEY,
        record TEXT NOT NULL,
        output BLOB NOT NULL
    );
    """,
)

_MAGIC = b"SQLite format 3\0"
PAGE_BYTES = 4096
SIZE_LIMIT_BYTES = 2 * 1024**3
"""Bound of the file. A write beyond it fails as if the disk were full."""
_BUSY_SECONDS = 5.0
"""Wait for another process (a backup, ``sqlite3``) that holds the file locked."""
_CACHE_KIB = 256
"""Pages kept in memory. Little is read, and what is read is in the kernel's cache; a larger one only grows with the
journal, between what the heap would give back."""
_WAL_KEEP_BYTES = 4 * 1024**2
"""The write-ahead log shrinks back to this after a burst."""


def open_database(
    path: Path, *, steps: Sequence[str] = STEPS, size_limit_bytes: int = SIZE_LIMIT_BYTES
) -> sqlite3.Connection:
    """Open the journal at ``path``, making or upgrading it. Blocking; call it in the thread.

    Raises:
        JournalError: it cannot be opened or is not a journal that this version understands; the
            message names the file and says what to do. The file is unchanged.
    """
    connection = None
    try:
        _create_private(path)
        connection = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        _refuse_foreign(connection, path, len(steps))
        _configure(connection, size_limit_bytes)
        _upgrade(connection, steps)
    except JournalError:
        if connection is not None:
            connection.close()
        raise
    except (sqlite3.Error, OSError) as error:
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
        raise journal_error(path, error) from error
    return connection


def journal_error(path: Path, error: BaseException) -> JournalError:
    """Say what went wrong with the file at ``path`` and what to do about it."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        advice = (
            "the file is damaged or is not a journal; it was left as it is. Move it away to start "
            "with an empty one (environments on disk are then found again, unsent results are not)"
        )
    elif name.startswith("SQLITE_FULL") or getattr(error, "errno", None) == 28:
        advice = "the disk is full or the journal has reached its size limit; make room"
    elif name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")) or isinstance(error, OSError):
        advice = "bbhost must be able to write this file and its directory"
    elif name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        advice = "another program holds the file locked"
    else:
        advice = "see the disk and the file system"
    return JournalError(f"journal {path}: {error}: {advice}")


def _create_private(path: Path) -> None:
    """Make an empty file that only the owner can read; SQLite's side files copy its mode.

    A file that is there must begin like a database: SQLite takes a very short file of another kind
    for an empty database and would overwrite it.
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        with path.open("rb") as file:
            beginning = file.read(len(_MAGIC))
        if beginning and beginning != _MAGIC:
            raise JournalError(
                f"journal {path}: this is not a database; it was left as it is. Move it away to "
                "start with an empty one"
            ) from None
        return
    os.close(descriptor)
    directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _refuse_foreign(connection: sqlite3.Connection, path: Path, newest: int) -> None:
    """Raise unless the file is empty or a sound journal of a known version. Reads only."""
    connection.execute("PRAGMA query_only = ON")
    application_id = _pragma(connection, "application_id")
    version = _pragma(connection, "user_version")
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and application_id != APPLICATION_ID:
        raise JournalError(
            f"journal {path}: this is a database of another program; it was left as it is. "
            "Choose another data directory or move the file away"
        )
    if version > newest:
        raise JournalError(
            f"journal {path}: written by a newer bbhost (version {version}, this one knows "
            f"{newest}); it was left as it is. Install that bbhost again or a newer one"
        )
    if tables:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise JournalError(
                f"journal {path}: damaged ({verdict}); it was left as it is. Restore it from a "
                "backup, or move it away to start with an empty one"
            )
    connection.execute("PRAGMA query_only = OFF")


def _configure(connection: sqlite3.Connection, size_limit_bytes: int) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL: a commit has reached the disk when it returns, also when the power fails.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEEP_BYTES}")
    connection.execute(f"PRAGMA max_page_count = {size_limit_bytes // PAGE_BYTES}")


def _upgrade(connection: sqlite3.Connection, steps: Sequence[str]) -> None:
    for number, step in enumerate(steps, start=1):
        if number <= _pragma(connection, "user_version"):
            continue
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in filter(str.strip, step.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
