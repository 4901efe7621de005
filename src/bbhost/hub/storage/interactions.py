"""Questions of agents to people. Every function is a step of one transaction."""

import sqlite3

from attrs import frozen

OPEN = ("pending", "resolving")


@frozen
class InteractionRow:
    """One question as it is remembered. Times are milliseconds since the epoch."""

    id: str
    thread_id: str
    turn_id: str
    provider_id: str
    provider_thread_id: str
    provider_request_id: str
    session_id: str
    status: str
    payload: str
    resolution: str | None
    reason: str | None
    command_id: str | None
    """The command that carries the resolution to the daemon."""
    created_at: int
    updated_at: int


_COLUMNS = (
    "id, thread_id, turn_id, provider_id, provider_thread_id, provider_request_id, session_id,"
    " status, payload, resolution, reason, command_id, created_at, updated_at"
)


def add_interaction(db: sqlite3.Connection, row: InteractionRow) -> None:
    """Remember a new question."""
    names = [name.strip() for name in _COLUMNS.split(",")]
    places = ", ".join("?" * len(names))
    db.execute(
        f"INSERT INTO interactions ({_COLUMNS}) VALUES ({places})",  # noqa: S608 - constant columns
        [getattr(row, name) for name in names],
    )


def find_interaction(db: sqlite3.Connection, interaction_id: str) -> InteractionRow | None:
    """Return the question, or None."""
    return _one(db, "id = ?", (interaction_id,))


def find_by_command(db: sqlite3.Connection, command_id: str) -> InteractionRow | None:
    """Return the question whose resolution a command carries, or None."""
    return _one(db, "command_id = ?", (command_id,))


def find_by_request(
    db: sqlite3.Connection, key: tuple[str, str, str, str]
) -> InteractionRow | None:
    """Return the question of (thread, provider, provider's thread, provider's request), or None."""
    where = (
        "thread_id = ? AND provider_id = ? AND provider_thread_id = ? AND provider_request_id = ?"
    )
    return _one(db, where, key)


def list_interactions(
    db: sqlite3.Connection, *, thread_id: str | None, open_only: bool
) -> list[InteractionRow]:
    """Return questions, oldest first."""
    return _many(
        db,
        "(? IS NULL OR thread_id = ?) AND (NOT ? OR status IN ('pending', 'resolving'))",
        (thread_id, thread_id, open_only),
    )


def open_of_session(db: sqlite3.Connection, session_id: str) -> list[InteractionRow]:
    """Return the open questions that were asked under a session."""
    return _many(db, "session_id = ? AND status IN ('pending', 'resolving')", (session_id,))


def open_of_turn(db: sqlite3.Connection, thread_id: str, turn_id: str) -> list[InteractionRow]:
    """Return the open questions of a turn."""
    where = "thread_id = ? AND turn_id = ? AND status IN ('pending', 'resolving')"
    return _many(db, where, (thread_id, turn_id))


def change_interaction(  # one row's worth of facts
    db: sqlite3.Connection,
    interaction_id: str,
    *,
    status: str,
    now: int,
    resolution: str | None = None,
    reason: str | None = None,
    command_id: str | None = None,
) -> None:
    """Give a question another status, with all that belongs to it."""
    db.execute(
        "UPDATE interactions SET status = ?, resolution = ?, reason = ?, command_id = ?,"
        " updated_at = ? WHERE id = ?",
        (status, resolution, reason, command_id, now, interaction_id),
    )


def move_to_session(db: sqlite3.Connection, interaction_id: str, session_id: str) -> None:
    """Let a question live as long as another session than before."""
    db.execute("UPDATE interactions SET session_id = ? WHERE id = ?", (session_id, interaction_id))


def _one(db: sqlite3.Connection, where: str, values: tuple[object, ...]) -> InteractionRow | None:
    found = _many(db, where, values)
    return found[0] if found else None


def _many(db: sqlite3.Connection, where: str, values: tuple[object, ...]) -> list[InteractionRow]:
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM interactions WHERE {where} ORDER BY created_at, id",  # noqa: S608 - constant conditions
        values,
    )
    return [InteractionRow(*row) for row in rows]
