"""App data: JSON files of a thread's apps, beneath ``<thread>/apps/<app>/data/``."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from attrs import frozen

from bbhost.domain.ids import ThreadId
from bbhost.errors import BbhostError, FileMissingError, InvalidPathError
from bbhost.workspace.files.beneath import Resolver, system_resolver
from bbhost.workspace.files.content import FILE_LIMIT
from bbhost.workspace.files.reading import read_file_relative

VALUE_LIMIT = FILE_LIMIT
"""Largest file that is read as app data, bytes."""
PATH_LIMIT = 512
"""Characters of a data path."""
SEGMENT_LIMIT = 8
"""Segments of a data path."""

_APP_ID = re.compile(r"[A-Za-z0-9_-]+")
_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}")
_APPS, _DATA = "apps", "data"


class AppDataError(BbhostError):
    """A file among the app data cannot be posted: too large, unreadable, or not JSON."""

    code = "invalid_app_data"


@frozen
class AppDataLocation:
    """One value of an app."""

    thread_id: ThreadId
    app_id: str
    path: str
    """Relative to the app's data directory."""


@frozen
class AppDataValue:
    """What is stored at a location."""

    version: str
    """SHA-256 of the file's bytes, lower-case hex."""
    value: Any
    """The parsed JSON."""


def is_app_id(name: str) -> bool:
    """Whether an app may have this name."""
    return _APP_ID.fullmatch(name) is not None


def is_app_data_path(path: str) -> bool:
    """Whether ``path`` may name a value."""
    segments = path.split("/")
    return (
        len(path) <= PATH_LIMIT
        and len(segments) <= SEGMENT_LIMIT
        and all(map(_SEGMENT.fullmatch, segments))
    )


def is_in_app_data(relative: str) -> bool:
    """Whether a path relative to the storage root lies in an app's data directory.

    Changes there are app data and nothing else, also where no value has such a name.
    """
    parts = relative.split("/")
    return len(parts) > 4 and parts[1] == _APPS and parts[3] == _DATA


def parse_location(relative: str) -> AppDataLocation | None:
    """The value that a path relative to the storage root names, or None."""
    if not is_in_app_data(relative):
        return None
    thread_id, _, app_id, _, *rest = relative.split("/")
    path = "/".join(rest)
    if not is_app_id(app_id) or not is_app_data_path(path):
        return None
    return AppDataLocation(ThreadId(thread_id), app_id, path)


def read_app_data(
    storage_root: Path, location: AppDataLocation, resolver: Resolver | None = None
) -> AppDataValue | None:
    """Read one value; None where it does not exist. Blocking: for worker threads.

    Raises:
        AppDataError: it is there and cannot be posted; the message says why.
    """
    found = _read(storage_root, location, resolver)
    if found is None:
        return None
    try:
        value = json.loads(found, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise AppDataError(f"App data is not JSON: {location.path}") from error
    return AppDataValue(hashlib.sha256(found).hexdigest(), value)


def read_app_version(
    storage_root: Path, location: AppDataLocation, resolver: Resolver | None = None
) -> str | None:
    """The version of a value that need not be JSON; None where there is none. Blocking.

    Raises:
        AppDataError: it is there and cannot be read.
    """
    found = _read(storage_root, location, resolver)
    return None if found is None else hashlib.sha256(found).hexdigest()


def _read(
    storage_root: Path, location: AppDataLocation, resolver: Resolver | None
) -> bytes | None:
    root = storage_root / location.thread_id / _APPS / location.app_id / _DATA
    try:
        found = read_file_relative(
            resolver or system_resolver(),
            str(root),
            location.path,
            dotfiles=False,
            limit=VALUE_LIMIT,
        )
    except FileMissingError:
        return None
    except InvalidPathError as error:
        raise AppDataError(f"App data is not a plain file: {location.path}") from error
    except BbhostError as error:
        raise AppDataError(error.message) from error
    return found.data


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
