"""How rescued work is named in a repository. Pure."""

import json
import re
from urllib.parse import unquote

from attrs import frozen

PREFIX = "refs/bbhost/rescue/"
IDENTITY = "bbhost rescue <rescue@bbhost.invalid>"
"""Author and committer of rescue commits: fixed, so that no user configuration is needed."""
MAX_MODES = 5_000
"""File modes noted in one commit; of more files than that only the executable bit is kept."""


@frozen
class RescueNote:
    """What a rescue commit's message says about the work."""

    environment_id: str
    incarnation: int
    path: str
    """Where the worktree was."""
    branch: str | None
    """Branch it was on; None when detached."""
    modes: dict[str, int]
    """Permission bits by path (as ``os.fsdecode`` gives it) where git cannot say them."""


def rescue_prefix(environment_id: str, incarnation: int) -> str:
    """Return the ref name, with a trailing slash, beneath which one incarnation's work is kept."""
    return f"{PREFIX}{_quote(environment_id)}/{incarnation}/"


def parse_rescue_ref(ref: str) -> tuple[str, int, str] | None:
    """Split a ref name into environment id, incarnation and part; None if it is not one of ours."""
    match = re.fullmatch(rf"{PREFIX}([^/]+)/([0-9]+)/([a-z]+)", ref)
    return None if match is None else (unquote(match[1]), int(match[2]), match[3])


def format_note(note: RescueNote, part: str) -> str:
    """Return the commit message."""
    modes = dict(list(note.modes.items())[:MAX_MODES])
    values = {"path": note.path, "branch": note.branch, "modes": modes}
    title = f"Rescued {part} of environment {note.environment_id}, incarnation {note.incarnation}"
    return f"{title}\n\n{json.dumps(values)}\n"


def parse_note(message: str, environment_id: str, incarnation: int) -> RescueNote:
    """Read a commit message back; what is missing or damaged is left empty."""
    _, _, body = message.partition("\n\n")
    try:
        values = json.loads(body)
        modes = {str(path): int(mode) & 0o777 for path, mode in values["modes"].items()}
        return RescueNote(
            environment_id, incarnation, str(values["path"]), values["branch"], modes
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return RescueNote(environment_id, incarnation, "", None, {})


def _quote(name: str) -> str:
    """Make a name safe in a ref, reversibly; git allows the percent sign there."""
    kept = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
    return "".join(
        char if char in kept else "".join(f"%{byte:02X}" for byte in char.encode("utf-8"))
        for char in name
    )
