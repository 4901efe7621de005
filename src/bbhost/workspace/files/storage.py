"""Thread storage: one directory per thread, for the thread's agent and its apps. Blocking.

``<root>/<thread>/apps/<app>/data/**`` are app data, ``<root>/<thread>/runtime-attachments/<request>``
hold uploads that came with a request. The methods are for worker threads.
"""

import os
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

from bbhost.domain.ids import ThreadId
from bbhost.errors import FileMissingError, InvalidPathError
from bbhost.workspace.files.beneath import Resolver, make_directories, system_resolver
from bbhost.workspace.files.paths import absolute_path, file_errors, open_root
from bbhost.workspace.files.tree import remove_tree
from bbhost.workspace.files.writing import replace_file

DELETED_REMEMBERED = 10_000
"""Deleted threads that writes are still refused for; the oldest is forgotten first."""

ATTACHMENTS = "runtime-attachments"
_ATTACHMENT_MODE = 0o600
_NAME_CHARACTERS = 120  # of an attachment's name; the rest of a longer one is cut, its ending kept
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def sanitise_name(name: str) -> str:
    """A file name that is safe everywhere: other runs of characters become one ``-``."""
    safe = _UNSAFE.sub("-", name.rpartition("/")[2])
    if len(safe) > _NAME_CHARACTERS:
        stem, dot, ending = safe.rpartition(".")
        ending = dot + ending if stem and len(ending) < 20 else ""
        safe = safe[: _NAME_CHARACTERS - len(ending)] + ending
    return safe or "attachment"


def attachment_name(index: int, name: str) -> str:
    """Name of the file that holds the upload of input element ``index``."""
    return f"{index:03d}-{sanitise_name(name)}"


class ThreadStorage:
    """The directory that holds the storage of all threads."""

    def __init__(self, root: Path, resolver: Resolver | None = None) -> None:
        self.root = Path(absolute_path(str(root)))
        self._resolver = resolver or system_resolver()
        self._deleted: OrderedDict[ThreadId, None] = OrderedDict()

    def path_of(self, thread_id: ThreadId) -> Path:
        """Where the storage of a thread is, or would be.

        Raises:
            InvalidPathError: the id is not one plain file name.
        """
        return self.root / _plain_name(thread_id)

    def create(self, thread_id: ThreadId, requested: str | None = None) -> Path:
        """Make the storage of a thread if it is missing.

        Args:
            requested: the path the server names for it; must lie strictly beneath the root.

        Raises:
            InvalidPathError: outside the root, or a link is in the way.
        """
        path = self.path_of(thread_id) if requested is None else Path(absolute_path(requested))
        try:
            parts = path.relative_to(self.root).parts
        except ValueError as error:
            raise InvalidPathError(f"Path is not in the thread storage: {path}") from error
        if not parts:
            raise InvalidPathError(f"Path is the thread storage itself: {path}")
        self.root.mkdir(parents=True, exist_ok=True)
        with file_errors(str(path)), open_root(str(self.root)) as root:
            os.close(make_directories(root, parts))
        self._deleted.pop(thread_id, None)
        return path

    def delete(self, thread_id: ThreadId, check: Callable[[], None] = lambda: None) -> bool:
        """Delete the storage of a thread with all in it; False where there was none.

        From here on writes into it are refused, until it is made again.

        Args:
            check: called many times a second; may raise to stop early.

        Raises:
            InvalidPathError: the id is not one plain file name.
            BbhostError: something in it cannot be deleted.
        """
        name = _plain_name(thread_id)
        self._remember_deleted(thread_id)
        try:
            with file_errors(str(self.root / name)), open_root(str(self.root)) as root:
                return remove_tree(root, name, check)
        except FileMissingError:
            return False

    def check_not_deleted(self, path: str) -> None:
        """Refuse a path in the storage of a thread that was deleted.

        Without this, a write that was under way while its thread was deleted would bring the
        storage back, and nobody would ever remove it.

        Raises:
            FileMissingError: it was deleted.
        """
        thread_id = self.thread_of(path)
        if thread_id in self._deleted:
            raise FileMissingError(f"Thread {thread_id} was deleted: {path}")

    def thread_of(self, path: str) -> ThreadId | None:
        """The thread in whose storage an absolute path lies, by its text."""
        try:
            parts = Path(absolute_path(path)).relative_to(self.root).parts
        except (ValueError, InvalidPathError):
            return None
        return ThreadId(parts[0]) if parts else None

    # --- attachments ------------------------------------------------------------------------

    def attachments_path(self, thread_id: ThreadId, request_id: str) -> Path:
        """Directory that holds the attachments of one request."""
        return self.path_of(thread_id) / ATTACHMENTS / _plain_name(request_id)

    def store_attachment(
        self, thread_id: ThreadId, request_id: str, index: int, name: str, data: bytes
    ) -> Path:
        """Keep an upload for its request, readable by this user only; return where it is.

        Raises:
            FileMissingError: the thread was deleted.
            InvalidPathError: a link is in the way.
            BbhostError: the disk is full, and the like.
        """
        directory = self.attachments_path(thread_id, request_id)
        self.check_not_deleted(str(directory))
        stored = attachment_name(index, name)
        parts = directory.relative_to(self.root).parts
        self.root.mkdir(parents=True, exist_ok=True)
        with file_errors(str(directory / stored)), open_root(str(self.root)) as root:
            parent = make_directories(root, parts)
            try:
                replace_file(parent, stored, data, _ATTACHMENT_MODE)
            finally:
                os.close(parent)
        return directory / stored

    def delete_attachments(self, thread_id: ThreadId, request_id: str) -> bool:
        """Delete the attachments of a request; False where there are none."""
        parts = self.attachments_path(thread_id, request_id).relative_to(self.root).parts
        try:
            return self._delete_at(parts)
        except FileMissingError:
            return False

    def _delete_at(self, parts: Sequence[str]) -> bool:
        flags = os.O_RDONLY | os.O_DIRECTORY
        with file_errors("/".join(parts)), open_root(str(self.root)) as root:
            parent = self._resolver.open(root, parts[:-1], flags)
            try:
                return remove_tree(parent, parts[-1])
            finally:
                os.close(parent)

    def _remember_deleted(self, thread_id: ThreadId) -> None:
        self._deleted[thread_id] = None
        while len(self._deleted) > DELETED_REMEMBERED:
            self._deleted.popitem(last=False)


def _plain_name(name: str) -> str:
    if name in {"", ".", ".."} or "/" in name or "\\" in name or "\0" in name:
        raise InvalidPathError(f"Not a plain name: {name!r}")
    return name
