"""Terminals that one daemon leaves to the next: written at the end of the one, taken by the other."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from attrs import asdict

from bbhost.domain.ids import EnvironmentId, Incarnation, TerminalId
from bbhost.journal.values import KeptTerminal


def keep_terminals(db: sqlite3.Connection, terminals: Sequence[KeptTerminal]) -> None:
    """Write them in place of whatever was kept before."""
    db.execute("DELETE FROM kept_terminals")
    db.executemany(
        "INSERT INTO kept_terminals VALUES (?, ?, ?)",
        [(one.descriptor_name, json.dumps(_fields(one)), one.output) for one in terminals],
    )


def take_terminals(db: sqlite3.Connection) -> list[KeptTerminal]:
    """Return what was kept, and forget it: it is taken once. What cannot be read is left out."""
    rows = db.execute("SELECT descriptor_name, record, output FROM kept_terminals").fetchall()
    db.execute("DELETE FROM kept_terminals")
    taken = (_read(name, record, output) for name, record, output in rows)
    return [terminal for terminal in taken if terminal is not None]


def _fields(terminal: KeptTerminal) -> dict[str, Any]:
    fields = asdict(terminal)
    del fields["descriptor_name"], fields["output"]
    return fields


def _read(name: str, record: str, output: bytes) -> KeptTerminal | None:
    # Written by the daemon before, which may have been another version: a terminal that is not
    # understood ends, and is no reason not to start.
    try:
        fields = json.loads(record)
        terminal = KeptTerminal(
            name,
            TerminalId(str(fields["terminal_id"])),
            EnvironmentId(str(fields["environment_id"])),
            Incarnation(int(fields["incarnation"])),
            pid=int(fields["pid"]),
            start_time=int(fields["start_time"]),
            boot_id=str(fields["boot_id"]),
            marker=str(fields["marker"]),
            tag=int(fields["tag"]),
            cols=int(fields["cols"]),
            rows=int(fields["rows"]),
            next_seq=int(fields["next_seq"]),
            chunk_sizes=tuple(map(int, fields["chunk_sizes"])),
            output=output,
        )
    except (ValueError, TypeError, KeyError):
        return None
    return terminal if sum(terminal.chunk_sizes) == len(output) else None
