"""An index file that names the untracked files, so that one ``git diff`` shows them all as new.

The file is written here, outside the repository: nothing is added to the repository's own index or
object store. Each entry claims to be an empty blob with stat data that no file has, so git reads
the file itself. Format: git's ``index-format`` documentation, version 2.
"""

import hashlib
import os
import stat
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

_LONGEST_LENGTH = 0xFFF
_SYMLINK = 0o120000
_PLAIN = 0o100644
_EXECUTABLE = 0o100755


@frozen
class ObjectFormat:
    """Well-known ids of one hash algorithm."""

    name: str
    empty_tree: str
    empty_blob: str


SHA1 = ObjectFormat(
    "sha1",
    "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
)
SHA256 = ObjectFormat(
    "sha256",
    "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
    "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813",
)


def write_untracked_index(root: Path, names: Sequence[bytes], hashes: ObjectFormat) -> Path | None:
    """Write an index of the files and links among ``names`` and return its path.

    Blocking. The caller removes the file. Names of directories (repositories of their own) and of
    what has vanished meanwhile are left out; None if nothing is left.

    Args:
        root: top of the work tree; ``names`` are relative to it.
    """
    entries = []
    for name in sorted(set(names)):
        mode = _mode(os.fsencode(root) + b"/" + name)
        if mode is not None:
            entries.append(_entry(name, mode, hashes))
    if not entries:
        return None
    content = b"DIRC" + struct.pack(">II", 2, len(entries)) + b"".join(entries)
    content += hashlib.new(hashes.name, content, usedforsecurity=False).digest()
    descriptor, path = tempfile.mkstemp(prefix="bbhost-index-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return Path(path)


def _mode(path: bytes) -> int | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    if stat.S_ISLNK(found.st_mode):
        return _SYMLINK
    if not stat.S_ISREG(found.st_mode):
        return None
    return _EXECUTABLE if found.st_mode & stat.S_IXUSR else _PLAIN


def _entry(name: bytes, mode: int, hashes: ObjectFormat) -> bytes:
    # Ten numbers: ctime and mtime (two each), device, inode, mode, owner, group, size.
    stat_data = struct.pack(">10I", 0, 0, 0, 0, 0, 0, mode, 0, 0, 0)
    flags = struct.pack(">H", min(len(name), _LONGEST_LENGTH))
    entry = stat_data + bytes.fromhex(hashes.empty_blob) + flags + name
    return entry + b"\0" * (8 - len(entry) % 8)
