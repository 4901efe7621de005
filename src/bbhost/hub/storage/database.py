"""One SQLite file, one connection, one thread.

Every piece of work is a plain function of a connection that runs as one transaction in that thread;
nothing else touches the file, so no piece of work ever meets a lock. WAL with ``synchronous=NORMAL``
survives the death of the process; work marked *durable* is synced before it returns and survives the
loss of power as well (acknowledged events, enrolments).
"""

import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import trio

from bbhost.errors import BbhostError, WireError
from bbhost.hub.storage.schema import SCHEMA_VERSION, UPGRADES

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class HubDatabaseError(BbhostError):
    """The hub's database cannot be read or written; it is never overwritten."""

    code = "hub_database_unusable"


class Database:
    """Runs transactions one after another in the one thread that owns the connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        # One token: the limiter is the queue of the writer, first come first served.
        self._limiter = trio.CapacityLimiter(1)

    async def run(self, work: Work[T], *, durable: bool = False) -> T:
        """Run ``work`` as one transaction and return what it returns.

        Cancellation: takes effect before the work begins; work that has begun is finished.
        """

        def transaction() -> T:
            return _transact(self._connection, work, durable=durable)

        return await trio.to_thread.run_sync(transaction, limiter=self._limiter)

    async def aclose(self) -> None:
        """Close the file after work under way. Shielded: SQLite needs milliseconds to close."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._connection.close, limiter=self._limiter)


def _transact(connection: sqlite3.Connection, work: Work[T], *, durable: bool) -> T:
    try:
        connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        connection.execute("BEGIN IMMEDIATE")
        result = work(connection)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        _roll_back(connection)
        # A full disk, most likely: nothing of the work was kept, and it may be asked again.
        raise HubDatabaseError(f"the hub cannot store anything now: {error}") from error
    except UnicodeEncodeError as error:
        _roll_back(connection)
        raise WireError("text with half of a character in it cannot be stored") from error
    except BaseException:
        _roll_back(connection)
        raise
    return result


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _connect(path: Path) -> sqlite3.Connection:
    # Made with mode 0600 before SQLite opens it: the file and its WAL hold key hashes and prompts.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA busy_timeout=5000")
        _upgrade(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise HubDatabaseError(f"{path} is not a usable database: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _upgrade(connection: sqlite3.Connection, path: Path) -> None:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise HubDatabaseError(
            f"{path} was written by a newer bbhost (format {version}, this one knows"
            f" {SCHEMA_VERSION}); use that version or another data directory"
        )
    for number in range(version, SCHEMA_VERSION):
        connection.executescript(
            f"BEGIN IMMEDIATE; {UPGRADES[number]} PRAGMA user_version={number + 1}; COMMIT;"
        )


@asynccontextmanager
async def open_database(path: Path) -> AsyncIterator[Database]:
    """Open the hub's database, making or upgrading it, and close it on the way out.

    Raises:
        HubDatabaseError: not a database, or written by a newer version; the file is left as it is.
    """
    database = Database(await trio.to_thread.run_sync(_connect, path))
    try:
        yield database
    finally:
        await database.aclose()
