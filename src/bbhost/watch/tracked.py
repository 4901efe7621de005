"""Whether git's index has files below given directories, without running git.

An ignored directory can hold tracked files (``git add -f``, a branch that tracks what another
ignores). It must then be watched. The index says so, and it changes with every commit, so the
question has to be cheap: a search for the bytes of the path, and a look at the length that the
entry states in front of it.
"""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

_PLAIN_VERSIONS = (2, 3)
"""Entries hold whole paths. Version 4 leaves out what an entry shares with the one before it."""
_MOST_WORK = 1 << 28
"""Bytes searched at most, over all directories (about 0.1 s); beyond it the answer is "maybe"."""


def index_may_contain(index: str, directories: Iterable[str]) -> bool:
    """Return whether the index may have an entry below one of ``directories``.

    Never false when there is one; true without one where the format does not allow a plain search.

    Args:
        index: absolute path of the index file; a missing one has no entries.
        directories: relative to the root of the work tree, without a slash at the end.

    Raises:
        OSError: the file cannot be read.
    """
    data = _read(index)
    return _may_have(data, [os.fsencode(f"{directory}/") for directory in directories])


def tracked_among(index: str, paths: Iterable[str]) -> frozenset[str]:
    """Return those of ``paths`` that have an entry of their own, or may have one.

    Args:
        index: absolute path of the index file; a missing one has no entries.

    Raises:
        OSError: the file cannot be read.
    """
    data = _read(index)
    return frozenset(path for path in paths if _may_have(data, [os.fsencode(path) + b"\0"]))


def _read(index: str) -> bytes:
    try:
        return Path(index).read_bytes()
    except OSError as error:
        if error.errno == errno.ENOENT:
            return b""
        raise


def _may_have(data: bytes, wanted: list[bytes]) -> bool:
    if not data:
        return False
    version = int.from_bytes(data[4:8], "big")
    is_split = b"link\x00\x00\x00" in data[-4096:]
    if version not in _PLAIN_VERSIONS or is_split or len(data) * len(wanted) > _MOST_WORK:
        return bool(wanted)
    return any(_has_entry(data, prefix) for prefix in wanted)


def _has_entry(data: bytes, prefix: bytes) -> bool:
    at = data.find(prefix)
    while at >= 0:
        end = data.find(b"\x00", at)
        if _stated_length(data, at) == min(end - at, 0xFFF):
            return True
        at = data.find(prefix, at + 1)
    return False


def _stated_length(data: bytes, at: int) -> int:
    """Length of the path that starts at ``at``, by the flags in front of it."""
    flags = int.from_bytes(data[at - 2 : at], "big")
    before = int.from_bytes(data[at - 4 : at - 2], "big")
    # Extended entries (version 3) have two more bytes of flags between the length and the path.
    # Both readings cannot fit by accident often enough to matter: a false fit costs one survey.
    return before & 0xFFF if before & 0x4000 and flags & 0x1FFF == 0 else flags & 0xFFF
