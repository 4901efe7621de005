"""Which keys a repository's own configuration sets, found without executing anything, and cached.

``git config --list`` runs no program. Its result is kept per common dir and stays valid while the
stat signature of every file it came from is the same, so an unchanged repository costs no process:
only some ``lstat`` calls. Work trees with a ``config.worktree`` of their own are kept apart.

Conditional includes (``includeIf``) are read whether or not their condition holds now, so the result
depends neither on the branch nor on the work tree that asked.

How tight it is. The signature has mtime, ctime, size, inode and mode of each file and of the symbolic link it may
be. A result is cached only if no file had changed within ``RACY_SECONDS`` before the scan began or
since: a change during the scan, or in the same tick of the file system's clock, is therefore never
missed later. Between looking at the signatures and the child reading its configuration lie some
milliseconds in which a program that already runs as the same user could change the file: it would
gain nothing that it does not have. What is prevented is configuration that lies in wait.
"""

import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import trio
from attrs import field, frozen

from bbhost.errors import GitCommandError
from bbhost.toolkit.single_flight import SingleFlight
from bbhost.workspace.file_stamp import Stamp, stamp_file, was_settled
from bbhost.workspace.hardening import ConfigPair, overrides, split_key
from bbhost.workspace.repository import GitDirs

INCLUDED_FILES_LIMIT = 64
"""Files one repository may include; a repository with more is refused."""
OVERRIDES_LIMIT = 2000
"""Keys one repository may need overridden; a repository with more is refused."""
CACHED_REPOSITORIES = 1024
"""Results kept; beyond it the oldest is dropped and read again when it is needed."""

ListConfig = Callable[[tuple[str, ...], Path], Awaitable[bytes]]
"""Runs ``git config`` with these arguments in this directory and returns its stdout."""

_Signature = tuple[Stamp, ...]


@frozen
class ConfigScan:
    """What a repository's own configuration makes necessary."""

    pairs: tuple[ConfigPair, ...] = ()
    """Overrides, in the order to set them."""
    disarmed: tuple[str, ...] = ()
    """Keys of the repository that are overridden, sorted."""
    submodule_ignore: Mapping[str, str] = field(factory=dict)
    """By name of the submodule: what the configuration says to leave out when comparing."""
    signature: _Signature = field(default=(), repr=False)


class ConfigScanner:
    """Scans and remembers, one scan at a time for each repository."""

    def __init__(self, list_config: ListConfig) -> None:
        self._list_config = list_config
        self._cache: dict[Path, ConfigScan] = {}
        self._flights: SingleFlight[ConfigScan] = SingleFlight()

    async def scan(self, dirs: GitDirs) -> ConfigScan:
        """Return the scan of a repository; without a process if nothing changed.

        Raises:
            GitCommandError: its configuration cannot be read, or exceeds the limits.
        """
        key = dirs.common_dir
        if (dirs.git_dir / "config.worktree").exists():
            key = dirs.git_dir
        known = self._cache.get(key)
        if known is not None and known.signature == _again(known.signature):
            await trio.lowlevel.checkpoint()
            return known
        # A joined flight may have begun before a change made since; its stamps then differ.
        for _ in range(2):
            scan = await self._flights.run(key, lambda: self._scan(dirs, key))
            if scan.signature == _again(scan.signature):
                return scan
        return await self._scan(dirs, key)

    async def _scan(self, dirs: GitDirs, key: Path) -> ConfigScan:
        began_ns = time.time_ns()
        own, user, origins = _parse_listing(
            await self._list_config(
                ("--list", "--show-scope", "--show-origin", "-z"), dirs.git_dir
            ),
            dirs,
        )
        base = {str(dirs.common_dir / "config"), str(dirs.git_dir / "config.worktree")}
        files = base | origins
        await self._follow_includes(own, files, dirs)
        pairs = overrides(((name, value) for _, name, value in own), user)
        if len(pairs) > OVERRIDES_LIMIT:
            raise GitCommandError(
                f"the configuration of {dirs.common_dir} sets more than {OVERRIDES_LIMIT} keys that may run programs"
            )
        disarmed = {name for _, name, _ in own} & {name for name, _ in pairs}
        ignore = {
            subsection: value
            for _, name, value in own
            for section, subsection, variable in (split_key(name),)
            if (section, variable) == ("submodule", "ignore")
        }
        scan = ConfigScan(pairs, tuple(sorted(disarmed)), ignore, _sign(sorted(files)))
        self._remember(key, scan, began_ns)
        return scan

    async def _follow_includes(
        self, own: list[tuple[str, str, str]], files: set[str], dirs: GitDirs
    ) -> None:
        """Add the keys of included files that the listing left out because of their condition."""
        position = 0
        included = 0
        while position < len(own):
            origin, name, value = own[position]
            position += 1
            section, _, variable = split_key(name)
            if section not in {"include", "includeif"} or variable != "path" or not value:
                continue
            target = _include_target(origin, value)
            if target in files:
                continue
            files.add(target)
            included += 1
            if included > INCLUDED_FILES_LIMIT:
                raise GitCommandError(
                    f"the configuration of {dirs.common_dir} includes more than {INCLUDED_FILES_LIMIT} files"
                )
            if await trio.Path(target).is_file():
                listing = await self._list_config(
                    ("--file", target, "--no-includes", "--list", "-z"), dirs.git_dir
                )
                own += [(target, *pair) for pair in parse_pairs(listing.split(b"\0"))]

    def _remember(self, key: Path, scan: ConfigScan, began_ns: int) -> None:
        self._cache.pop(key, None)
        if all(was_settled(stamp, began_ns) for stamp in scan.signature):
            self._cache[key] = scan
            if len(self._cache) > CACHED_REPOSITORIES:
                del self._cache[next(iter(self._cache))]


def _parse_listing(
    listing: bytes, dirs: GitDirs
) -> tuple[list[tuple[str, str, str]], list[ConfigPair], set[str]]:
    """Split a listing into the repository's own keys, the user's keys, and the files they are in."""
    own: list[tuple[str, str, str]] = []
    user: list[ConfigPair] = []
    origins: set[str] = set()
    fields = listing.split(b"\0")
    for scope, origin, pair in zip(fields[0::3], fields[1::3], fields[2::3], strict=False):
        name, value = parse_pairs([pair])[0]
        path = ""
        if origin.startswith(b"file:"):
            # Git names files of the repository relative to where it ran, which was the git dir.
            path = os.path.normpath(dirs.git_dir / os.fsdecode(origin[5:]))
            origins.add(path)
        if scope in {b"system", b"global"}:
            user.append((name, value))
        elif scope != b"command":
            own.append((path, name, value))
    return own, user, origins


def parse_pairs(items: list[bytes]) -> list[ConfigPair]:
    """Split what ``git config --list -z`` prints into keys and values."""
    pairs = []
    for item in filter(None, items):
        name, _, value = os.fsdecode(item).partition("\n")
        pairs.append((name, value))
    return pairs


def _include_target(origin: str, value: str) -> str:
    return os.path.normpath(Path(origin).parent / Path(value).expanduser())


def _sign(paths: list[str]) -> _Signature:
    return tuple(stamp_file(path) for path in paths)


def _again(signature: _Signature) -> _Signature:
    return tuple(stamp_file(stamp.path) for stamp in signature)
