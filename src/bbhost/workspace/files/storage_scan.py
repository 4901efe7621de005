"""What the storage of one thread looks like now, cheaply enough to look after every change. Blocking.

App data are told apart from the rest: of them every file is listed, of the rest there is one digest.
Links are not followed, and the times of directories do not count, because a change of app data shows
in the times of directories that hold other things too.
"""

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from attrs import frozen

from bbhost.domain.ids import ThreadId
from bbhost.workspace.files.app_data import (
    AppDataLocation,
    is_app_id,
    is_in_app_data,
    parse_location,
)

ENTRIES_LIMIT = 20_000
"""Files and directories looked at in one thread's storage; changes of further ones go unnoticed."""
SETTLED_SECONDS = 0.05
"""Longer than a tick of a file system's clock: a file that changed more recently than this, seen from
the moment of looking, may change again without its stamp becoming another."""
_CHECK_EVERY = 256  # entries between two calls of ``check``

Stamp = tuple[int, int, int, int]
"""mtime and ctime in nanoseconds, size, inode."""


@frozen
class StorageScan:
    """The storage of one thread at one moment."""

    digest: bytes
    """Of everything that is not app data."""
    app_files: Mapping[AppDataLocation, Stamp]
    app_ids: frozenset[str]
    """Apps that have a directory."""
    is_complete: bool
    """False beyond ``ENTRIES_LIMIT``: what is not listed may exist all the same."""
    is_empty: bool
    taken_ns: int
    """Wall clock just before looking."""

    def was_settled(self, stamp: Stamp) -> bool:
        """Whether a change after the scan is certain to show in a later stamp."""
        return stamp[1] < self.taken_ns - int(SETTLED_SECONDS * 1e9)


def scan_storage(
    root: Path, thread_id: ThreadId, check: Callable[[], None] = lambda: None
) -> StorageScan:
    """Look at the storage of one thread; missing storage is empty.

    Args:
        root: of the storage of all threads.
        check: called many times a second; may raise to stop early.
    """
    taken_ns = time.time_ns()
    digest = hashlib.blake2b(digest_size=16)
    app_files: dict[AppDataLocation, Stamp] = {}
    app_ids: set[str] = set()
    seen = 0
    for relative, found in _entries(root, thread_id):
        if seen % _CHECK_EVERY == 0:
            check()
        seen += 1
        if seen > ENTRIES_LIMIT:
            break
        is_directory = stat.S_ISDIR(found.st_mode)
        if is_in_app_data(relative):
            location = parse_location(relative)
            if location is not None and not is_directory:
                app_files[location] = _stamp(found)
            continue
        app_id = _app_id(relative)
        if app_id is not None and is_directory:
            app_ids.add(app_id)
        facts = found.st_mode if is_directory else (found.st_mode, *_stamp(found))
        digest.update(f"{relative!r} {facts}\n".encode())
    return StorageScan(
        digest.digest(),
        app_files,
        frozenset(app_ids),
        seen <= ENTRIES_LIMIT,
        seen == 0,
        taken_ns,
    )


def _entries(root: Path, relative: str) -> Iterator[tuple[str, os.stat_result]]:
    """Everything beneath, parents first, in the order of names; what vanishes meanwhile is left out."""
    pending = [relative]
    while pending:
        directory = pending.pop()
        try:
            with os.scandir(root / directory) as entries:
                names = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in names:
            below = f"{directory}/{entry.name}"
            try:
                found = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            yield below, found
            if stat.S_ISDIR(found.st_mode):
                pending.append(below)


def _app_id(relative: str) -> str | None:
    """The app whose own directory this is."""
    parts = relative.split("/")
    return parts[2] if len(parts) == 3 and parts[1] == "apps" and is_app_id(parts[2]) else None


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
