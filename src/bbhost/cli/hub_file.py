"""``run/hub.json`` of a data directory: where the hub that ``bbhost up`` runs can be reached."""

import json
import os
from pathlib import Path

from attrs import asdict, frozen

from bbhost.errors import ConfigError
from bbhost.toolkit.private_directory import make_private_directory


@frozen
class HubFile:
    """What ``bbhost up`` leaves for the other commands while it runs."""

    url: str
    token_file: str
    """Path of the token, which itself is never in this file."""
    pid: int
    host_id: str


def hub_file_path(data_dir: Path) -> Path:
    """Where the file is."""
    return data_dir / "run" / "hub.json"


def write_hub_file(data_dir: Path, content: HubFile) -> None:
    """Write the file with mode 0600, atomically."""
    path = hub_file_path(data_dir)
    make_private_directory(path.parent)
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(asdict(content), stream)
    new.replace(path)


def read_hub_file(data_dir: Path) -> HubFile | None:
    """Return what is in the file; None where there is none.

    Raises:
        ConfigError: it cannot be read or understood.
    """
    path = hub_file_path(data_dir)
    try:
        return HubFile(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} cannot be used: {error}") from error


def remove_hub_file(data_dir: Path, pid: int) -> None:
    """Remove the file if it is still that of ``pid``."""
    try:
        found = read_hub_file(data_dir)
    except ConfigError:
        return
    if found is not None and found.pid == pid:
        hub_file_path(data_dir).unlink(missing_ok=True)
