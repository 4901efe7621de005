"""Letting git look into submodules whose own configuration has been disarmed.

For each submodule ``git status`` and ``git diff`` run another ``git status`` inside it, which obeys
the submodule's configuration. The overrides given to the outer git reach that child too, so looking
is safe once the submodule's configuration has been scanned like the repository's own. Every other
submodule is compared by its commit only:

* one that ``.gitmodules`` of the work tree does not name (a repository that was added as it was);
* one that contains submodules itself, because the child would go into those;
* those beyond ``SUBMODULES_LIMIT``.

Where the work tree has no ``.gitmodules`` git would read the one in the index; then no submodule is
looked into.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

from attrs import frozen

from bbhost.errors import GitCommandError, GitTimeoutError
from bbhost.workspace.config_scan import ConfigScan, ListConfig, parse_pairs
from bbhost.workspace.file_stamp import Stamp, stamp_file, was_settled
from bbhost.workspace.hardening import ConfigPair, split_key
from bbhost.workspace.repository import GitDirs, find_git_dirs

SUBMODULES_LIMIT = 64
"""Submodules of one work tree that are looked into; the others are compared by their commit."""
ANSWERS_KEPT = 1024
"""Answers about files remembered; beyond it the oldest is forgotten and asked again."""

ScanDirs = Callable[[GitDirs], Awaitable[ConfigScan]]
ListIndex = Callable[[GitDirs], Awaitable[bytes]]
"""Runs ``git ls-files --stage -z`` on the index of these git directories."""


@frozen
class Submodule:
    """One entry of ``.gitmodules``."""

    name: str
    path: str
    """Relative to the top of the work tree."""
    ignore: str
    """What to leave out when comparing; ``none`` unless the file says otherwise."""


class SubmoduleScanner:
    """Finds out which submodules are safe, remembering what it found by the stamps of files."""

    def __init__(self, list_config: ListConfig, list_index: ListIndex, scan: ScanDirs) -> None:
        self._list_config = list_config
        self._list_index = list_index
        self._scan = scan
        self._kept: dict[Path, tuple[Stamp, object]] = {}

    async def pairs(self, work_tree: Path, own: ConfigScan) -> tuple[ConfigPair, ...]:
        """Return configuration with which git may look into the submodules of ``work_tree``.

        Args:
            own: the scan of the repository itself.

        Returns:
            Overrides to set after all others; empty if there is nothing to look into. Give git no
            ``--ignore-submodules`` only if it is not empty.
        """
        modules = work_tree / ".gitmodules"
        if not modules.is_file() or modules.is_symlink():
            return ()
        submodules = await self._read_modules(modules)
        pairs: list[ConfigPair] = []
        for number, submodule in enumerate(submodules):
            scan = None
            if number < SUBMODULES_LIMIT:
                scan = await self._scan_submodule(work_tree, submodule)
            ignore = "dirty"
            if scan is not None:
                pairs += scan.pairs
                ignore = own.submodule_ignore.get(submodule.name, submodule.ignore)
            pairs.append((f"submodule.{submodule.name}.ignore", ignore))
        return tuple(pairs)

    async def _read_modules(self, modules: Path) -> tuple[Submodule, ...]:
        async def read() -> object:
            listing = await self._list_config(
                ("--file", str(modules), "--no-includes", "--list", "-z"), modules.parent
            )
            return parse_modules(parse_pairs(listing.split(b"\0")))

        found = await self._remembered(modules, read)
        assert isinstance(found, tuple)
        return found

    async def _scan_submodule(self, work_tree: Path, submodule: Submodule) -> ConfigScan | None:
        """Return the scan of a submodule that is safe to look into, or None."""
        place = work_tree / submodule.path
        dirs = find_git_dirs(place) if (place / ".git").exists() else None
        if dirs is None or not place.resolve().is_relative_to(work_tree):
            return None
        try:
            if await self._has_submodules(dirs):
                return None
            return await self._scan(dirs)
        except (GitCommandError, GitTimeoutError):
            return None

    async def _has_submodules(self, dirs: GitDirs) -> bool:
        async def read() -> object:
            listing = await self._list_index(dirs)
            return any(entry.startswith(b"160000 ") for entry in listing.split(b"\0"))

        return bool(await self._remembered(dirs.git_dir / "index", read))

    async def _remembered(self, path: Path, read: Callable[[], Awaitable[object]]) -> object:
        stamp = stamp_file(str(path))
        kept = self._kept.pop(path, None)
        if kept is None or kept[0] != stamp:
            kept = (stamp, await read())
            if not was_settled(stamp):
                return kept[1]
        self._kept[path] = kept
        if len(self._kept) > ANSWERS_KEPT:
            del self._kept[next(iter(self._kept))]
        return kept[1]


def parse_modules(pairs: list[ConfigPair]) -> tuple[Submodule, ...]:
    """Read the entries of ``.gitmodules``; one without a path is none."""
    settings: dict[str, dict[str, str]] = {}
    for key, value in pairs:
        section, name, variable = split_key(key)
        if section == "submodule" and name:
            settings.setdefault(name, {})[variable] = value
    return tuple(
        Submodule(name, found["path"], found.get("ignore", "none"))
        for name, found in settings.items()
        if found.get("path")
    )
