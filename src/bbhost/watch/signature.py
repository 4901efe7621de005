"""A digest of what a watch looks at, for polling. Runs in a thread; reads, never writes."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import field, frozen

from bbhost.watch.git_names import (
    Concern,
    common_dir_concern,
    config_signature,
    git_dir_concern,
    is_surveyed_in_common,
)
from bbhost.watch.nested import nested_git_dir
from bbhost.watch.values import WatchTarget


@frozen
class Signature:
    """Equal signatures: nothing changed that names, modes, sizes or times would show."""

    workspace: bytes
    refs: bytes
    rules: bytes
    """Of what decides which directories are ignored, the index included."""
    directories: frozenset[str]
    """The tree's directories that are not ignored."""
    truncated: bool
    """The tree has more entries than were allowed; the rest was not looked at."""


@frozen
class _Digests:
    workspace: "hashlib.blake2b" = field(factory=lambda: hashlib.blake2b(digest_size=16))
    refs: "hashlib.blake2b" = field(factory=lambda: hashlib.blake2b(digest_size=16))
    rules: "hashlib.blake2b" = field(factory=lambda: hashlib.blake2b(digest_size=16))


def take_signature(target: WatchTarget, ignored: frozenset[str], limit: int) -> Signature:
    """Look at everything of a target.

    Args:
        ignored: directories of the tree that are not entered.
        limit: entries of the tree looked at, at most.

    Raises:
        OSError: the root cannot be read. Other directories that cannot are taken as empty.
    """
    digests = _Digests()
    directories, truncated = _add_tree(digests, target.root, ignored, limit)
    if target.git_dir is not None:
        _add_git_dir(digests, target.git_dir)
    if target.common_dir is not None:
        _add_common_dir(digests, target.common_dir)
    return Signature(
        digests.workspace.digest(),
        digests.refs.digest(),
        digests.rules.digest(),
        frozenset(directories),
        truncated,
    )


def _add_tree(
    digests: _Digests, root: str, ignored: frozenset[str], limit: int
) -> tuple[list[str], bool]:
    directories = [""]
    for directory in directories:
        digests.workspace.update(_line("in", directory))
        for entry in _entries(f"{root}/{directory}", must_exist=not directory):
            limit -= 1
            if limit < 0:
                return directories, True
            path = f"{directory}/{entry.name}" if directory else entry.name
            if entry.name == ".git":
                if directory:
                    _add_nested(digests, f"{root}/{directory}")
                continue
            if not entry.is_dir(follow_symlinks=False):
                facts = _facts(entry)
                digests.workspace.update(facts)
                if entry.name == ".gitignore":
                    digests.rules.update(_line(path) + facts)
            elif path not in ignored:
                directories.append(path)
    return directories, False


def _add_nested(digests: _Digests, directory: str) -> None:
    """Add the HEAD of a repository in the tree; its history of HEAD moves with every commit."""
    git_dir = nested_git_dir(directory)
    for name in ("HEAD", "logs/HEAD") if git_dir is not None else ():
        try:
            found = os.stat(f"{git_dir}/{name}")  # noqa: PTH116 - may not be valid unicode
        except OSError:
            continue
        digests.workspace.update(_line(name, found.st_size, found.st_ino, found.st_mtime_ns))


def _add_git_dir(digests: _Digests, git_dir: str) -> None:
    for entry in _entries(git_dir):
        concern = git_dir_concern(entry.name)
        if concern is Concern.NOTHING:
            continue
        facts = _facts(entry)
        digests.workspace.update(facts)
        if concern & (Concern.INDEX | Concern.RULES):
            digests.rules.update(facts)


def _add_common_dir(digests: _Digests, common_dir: str) -> None:
    for directory, entry in _walk(common_dir, is_surveyed_in_common):
        concern = common_dir_concern(directory, entry.name)
        if Concern.CONFIG in concern:
            digests.rules.update(config_signature(_content(entry.path)))
        elif Concern.RULES in concern:
            digests.rules.update(_facts(entry))
        if Concern.REFS in concern and not entry.is_dir(follow_symlinks=False):
            digests.refs.update(_line(directory) + _facts(entry))


def _walk(root: str, enters: Callable[[str], bool]) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    directories = [""]
    for directory in directories:
        for entry in _entries(f"{root}/{directory}"):
            yield directory, entry
            path = f"{directory}/{entry.name}" if directory else entry.name
            if entry.is_dir(follow_symlinks=False) and enters(path):
                directories.append(path)


def _entries(path: str, *, must_exist: bool = False) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        if must_exist:
            raise
        return []


def _facts(entry: "os.DirEntry[str]") -> bytes:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return _line(entry.name, "gone")
    return _line(
        entry.name,
        found.st_mode,
        found.st_size,
        found.st_ino,
        found.st_mtime_ns,
        found.st_ctime_ns,
    )


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _line(*parts: object) -> bytes:
    return "\0".join(map(str, parts)).encode("utf-8", "surrogateescape") + b"\n"
