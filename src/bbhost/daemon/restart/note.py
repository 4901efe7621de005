"""The note that a stopping daemon leaves for ``after_stop``: what runs on, and for which restart."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from attrs import frozen

NAME = "restarting.json"


@frozen
class RestartNote:
    """Valid for the stop of one invocation only: whatever fails later, the note does not spare it."""

    invocation_id: str
    leaves: tuple[str, ...]
    """Names of the cgroup leaves that hold terminals the next daemon goes on with."""


def write_note(data_dir: Path, note: RestartNote) -> None:
    """Leave the note, whole or not at all.

    Raises:
        OSError: it could not be written.
    """
    text = json.dumps({"invocationId": note.invocation_id, "leaves": list(note.leaves)})
    beside = data_dir / f"{NAME}.new"
    descriptor = os.open(
        beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    beside.replace(data_dir / NAME)


def read_note(data_dir: Path, invocation_id: str) -> Sequence[str]:
    """Return the leaves to be spared after the end of that invocation; none where no note says so."""
    try:
        found = json.loads((data_dir / NAME).read_text())
        if found["invocationId"] != invocation_id:
            return ()
        return [str(name) for name in found["leaves"]]
    except (OSError, ValueError, TypeError, KeyError):
        return ()


def remove_note(data_dir: Path) -> None:
    """The restart has come to its end."""
    with suppress(OSError):
        (data_dir / NAME).unlink()
