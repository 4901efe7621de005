"""Manager templates: directories that the user keeps in the data directory. Blocking."""

import os
from pathlib import Path

from attrs import frozen

DEFAULT_TEMPLATE = "default"
NAME_LIMIT = 128
"""Characters of a template's name."""
MAX_TEMPLATES = 1_000
"""Templates listed; further ones are left out, last in the alphabet first."""
_ACTIVE_LIMIT = 4_096  # bytes read of the file that names the active template


@frozen
class ManagerTemplates:
    """Names of the templates, sorted, and the one in use."""

    names: tuple[str, ...]
    active: str


def read_manager_templates(data_dir: Path) -> ManagerTemplates:
    """Read ``<data_dir>/manager-templates``; empty where that is missing or unreadable."""
    directory = data_dir / "manager-templates"
    try:
        with os.scandir(directory) as entries:
            names = sorted(entry.name for entry in entries if _is_template(entry))
    except OSError:
        return ManagerTemplates((), DEFAULT_TEMPLATE)
    chosen = _read_active(directory / "active")
    return ManagerTemplates(
        tuple(names[:MAX_TEMPLATES]), chosen if chosen in names else DEFAULT_TEMPLATE
    )


def _is_template(entry: "os.DirEntry[str]") -> bool:
    name = entry.name
    return (
        1 <= len(name) <= NAME_LIMIT
        and "\\" not in name
        and name.isprintable()  # also refuses names that are not valid UTF-8
        and entry.is_dir(follow_symlinks=False)
    )


def _read_active(path: Path) -> str:
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        text = os.read(opened, _ACTIVE_LIMIT).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(opened)
    return text.split("\n", 1)[0].strip()
