"""The trash: where removed workspaces go in one rename, to be deleted at leisure.

An entry is a directory with the removed files in ``files`` and a note in ``note.json`` that says
what they were. Entries without ``keep_until_ms`` are deleted as soon as possible. Others hold what
could not be kept as a rescue ref, and stay for their retention time.

The trash lies in the data directory. Where a managed root is another file system, a rename cannot
reach it, and a hidden directory within that root takes its place.
"""

import errno
import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import asdict, define, field, frozen

from bbhost.toolkit.faults import fault_point
from bbhost.toolkit.private_directory import make_private_directory

TRASH_DIRECTORY = "trash"
"""Name within the data directory."""
LOCAL_TRASH_DIRECTORY = ".trash"
"""Name within a managed root that is a file system of its own."""
RETENTION_MS = 7 * 24 * 3600 * 1000
"""How long files stay that could not be rescued otherwise."""
MAX_NOTE_BYTES = 65_536
NOTE, FILES = "note.json", "files"
MANAGED_ROOTS = ("worktrees", "personal-workspaces")
"""Directories within the data directory whose contents are ours to remove."""


@frozen
class TrashNote:
    """What an entry of the trash was."""

    environment_id: str
    incarnation: int
    path: str
    """Where the files were."""
    trashed_at_ms: int
    registration: str | None = None
    """Git dir of the worktree, where there was one."""
    keep_until_ms: int | None = None
    """Not deleted before this time (milliseconds since the epoch); None: delete at once."""
    reason: str = ""
    """Why it is kept, for people."""


@frozen
class TrashEntry:
    """One entry: ``directory/files`` are the files."""

    directory: Path
    note: TrashNote | None
    """None where it is missing or unreadable."""

    @property
    def files(self) -> Path:
        """Where the files are now."""
        return self.directory / FILES


@define(eq=False)
class Trash:
    """The trash of one data directory. One object per daemon. Blocking: call it from a thread."""

    data_dir: Path
    _in_progress: set[str] = field(factory=set, init=False)
    """Entries that have a note but no files yet; nobody else may take them for leftovers."""

    def put(self, path: Path, note: TrashNote) -> TrashEntry | None:
        """Move what is at ``path`` into the trash. None where nothing is there.

        Killed half-way, either the files are still at ``path`` or the entry is complete.

        Raises:
            OSError: it cannot be moved; it is still at ``path``.
        """
        name = f"{_plain(note.environment_id)}-{note.incarnation}-{secrets.token_hex(4)}"
        self._in_progress.add(name)
        try:
            failure: OSError | None = None
            for place in self._places(path):
                try:
                    return _move(path, place / name, note)
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
                    failure = error
            raise failure or FileNotFoundError(errno.ENOENT, "no trash for", str(path))
        finally:
            self._in_progress.discard(name)

    def entries(self) -> list[TrashEntry]:
        """Return the complete entries, and the remains of entries that never got their files."""
        return [
            TrashEntry(directory, _read_note(directory / NOTE))
            for place in self.directories()
            for directory in _subdirectories(place)
            if directory.name not in self._in_progress
        ]

    def directories(self) -> list[Path]:
        """Return where entries may lie, whether or not the directories exist."""
        roots = [self.data_dir / root / LOCAL_TRASH_DIRECTORY for root in MANAGED_ROOTS]
        return [self.data_dir / TRASH_DIRECTORY, *roots]

    def find(self, environment_id: str, path: Path) -> list[TrashEntry]:
        """Return the entries of an environment whose files were at ``path``, the latest one first.

        Reads the notes of that environment alone: in a wave of destroys there are hundreds of others.
        """
        beginning = f"{_plain(environment_id)}-"
        found = [
            TrashEntry(directory, note)
            for place in self.directories()
            for directory in _subdirectories(place)
            if directory.name.startswith(beginning)
            and directory.name not in self._in_progress
            and (note := _read_note(directory / NOTE)) is not None
            and (note.environment_id, note.path) == (environment_id, str(path))
        ]
        return sorted(found, key=_trashed_at, reverse=True)

    def _places(self, path: Path) -> Iterator[Path]:
        yield self.data_dir / TRASH_DIRECTORY
        for root in MANAGED_ROOTS:
            if path.is_relative_to(self.data_dir / root):
                yield self.data_dir / root / LOCAL_TRASH_DIRECTORY


def _move(path: Path, directory: Path, note: TrashNote) -> TrashEntry | None:
    make_private_directory(directory.parent)
    directory.mkdir(mode=0o700)
    try:
        fault_point("trash.entry_made")
        _write_note(directory, note)
        fault_point("trash.note_written")
        _rename(path, directory / FILES)
    except OSError as error:
        (directory / NOTE).unlink(missing_ok=True)
        directory.rmdir()
        if isinstance(error, FileNotFoundError):
            return None
        raise
    fault_point("trash.moved")
    return TrashEntry(directory, note)


def _write_note(directory: Path, note: TrashNote) -> None:
    with (directory / NOTE).open("w", encoding="ascii") as file:
        file.write(json.dumps(asdict(note)))
        if note.keep_until_ms is None:
            return  # without its note the entry is deleted, and that is what it is for
        # The rename may reach the disk before the note does, and a power failure come in between.
        file.flush()
        os.fsync(file.fileno())
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _rename(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except PermissionError:
        # A directory that is not writable cannot be moved to another parent.
        if source.is_symlink() or os.access(source, os.W_OK):
            raise
        source.chmod(0o700)
        source.rename(target)


def _subdirectories(place: Path) -> list[Path]:
    try:
        with os.scandir(place) as entries:
            return sorted(Path(e.path) for e in entries if e.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _read_note(path: Path) -> TrashNote | None:
    try:
        with path.open("rb") as file:
            values: dict[str, Any] = json.loads(file.read(MAX_NOTE_BYTES))
        times = values["trashed_at_ms"], values.get("keep_until_ms")
        return TrashNote(**values) if all(isinstance(t, int | None) for t in times) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _trashed_at(entry: TrashEntry) -> int:
    return entry.note.trashed_at_ms if entry.note is not None else 0


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "_"
