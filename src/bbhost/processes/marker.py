"""The marker variable: which boundary of which daemon a process was started in.

``BBHOST_BOUNDARY=<data id>.<nonce>.<incarnation>.<environment>``. The data id stands for the data
directory, so two daemons on one machine never touch each other's processes; the nonce is new in
each run of the daemon, so what a killed run left can be told from what the present run started. A
daemon that itself runs inside a boundary of another one appends to the list (comma separated), so
that the outer one still recognises what the inner one left behind.
"""

import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote

from attrs import frozen

from bbhost.domain.ids import EnvironmentId, Incarnation
from bbhost.processes.environ import MARKER_VARIABLE

_ID_DIGITS = 8
"""Hex digits of the data id: the 32 bits that also fit into the lineage tag."""
_INCARNATION_DIGITS = 18
"""Any process may set the variable, and to anything."""


@frozen
class Marker:
    """One boundary's name."""

    data_id: str
    """Eight hex digits that stand for the data directory."""
    nonce: str
    """Eight hex digits, new in each run of the daemon."""
    incarnation: Incarnation
    environment_id: EnvironmentId

    def __str__(self) -> str:
        name = quote(self.environment_id, safe="")
        return f"{self.data_id}.{self.nonce}.{self.incarnation}.{name}"

    def variable(self, inherited: Mapping[str, str] | None = None) -> str:
        """Return the value to set, behind the markers of other daemons further out."""
        value = (os.environ if inherited is None else inherited).get(MARKER_VARIABLE)
        # A daemon that was restarted from inside one of its own environments must not go on
        # marking its children with that one.
        outer = [marker for marker in parse_markers(value) if marker.data_id != self.data_id]
        return ",".join(map(str, [*outer, self]))


def parse_markers(value: str | None) -> tuple[Marker, ...]:
    """Return the markers in a variable's value, outermost first; what is no marker is left out."""
    markers = []
    for text in (value or "").split(","):
        parts = text.split(".", 3)
        if len(parts) == 4 and parts[2].isdecimal() and len(parts[2]) <= _INCARNATION_DIGITS:
            environment_id = EnvironmentId(unquote(parts[3]))
            markers.append(Marker(parts[0], parts[1], Incarnation(int(parts[2])), environment_id))
    return tuple(markers)


def data_directory_id(data_dir: Path) -> str:
    """Return the data id: a hash of user and resolved path, stable over restarts."""
    seed = f"{os.getuid()}:{data_dir.resolve()}".encode(errors="surrogateescape")
    return hashlib.sha256(seed).hexdigest()[:_ID_DIGITS]


def new_nonce() -> str:
    """Return a nonce for one run of the daemon."""
    return secrets.token_hex(_ID_DIGITS // 2)
