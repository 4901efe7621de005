"""The branches of a repository, read once for all of its work trees.

One ``git for-each-ref`` reads them. The answer is kept only while somebody watches the common dir
(:meth:`RefsCache.trust`) and until a change is reported (:meth:`RefsCache.invalidate`); an answer
whose reading began before the latest change is never kept nor given to who asked after it. A change
may have been made that nobody has reported yet, so whoever watches is asked (``confirm``) before a
kept answer is given out: a branch that was made a moment ago must not be "not found".

Branches are never deleted with their worktree, so there are thousands of them in a repository that is
used a lot, and each provisioning has them read anew. A reading therefore shares its names and commit ids
with the one before, and nobody keeps a reading for as long as an environment lives.

Of two readings that run side by side, the one that began later is the newer one, whichever ends first;
an older one is not given out after it.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import MappingProxyType

import trio
from attrs import define, field, frozen

from bbhost.toolkit.single_flight import SingleFlight
from bbhost.workspace.comparisons import ComparisonCache
from bbhost.workspace.git import Git
from bbhost.workspace.repository import Repository

_HEADS = "refs/heads/"
_REMOTES = "refs/remotes/"
_ORIGIN_HEAD = "refs/remotes/origin/HEAD"
_USUAL_DEFAULTS = ("main", "master")


@frozen
class RefsSnapshot:
    """Local and remote branches at one moment."""

    heads: Mapping[str, str]
    """Local branch name to commit id, in the order of git (by name)."""
    remotes: Mapping[str, str]
    """Remote branch (``origin/main``) to commit id; symbolic refs left out."""
    origin_head: str | None
    """Branch that ``refs/remotes/origin/HEAD`` names, without ``origin/``."""

    @property
    def default_branch(self) -> str | None:
        """Origin's head, else local ``main``, else ``master``, else the first local branch."""
        return self._default_among(self.heads)

    def default_branch_with(self, branch: str) -> str | None:
        """The default branch once there is this local branch as well."""
        first = next(iter(self.heads), branch)
        present = {name for name in _USUAL_DEFAULTS if name in self.heads}
        return self._default_among(sorted({*present, first, branch}))

    def _default_among(self, heads: Collection[str]) -> str | None:
        if self.origin_head is not None:
            return self.origin_head
        usual = next((name for name in _USUAL_DEFAULTS if name in heads), None)
        return usual or next(iter(heads), None)


@define(eq=False)
class ExpectedBranch:
    """A branch that provisioning sets, until a reading shows it."""

    tip: str
    """Commit id at which it will be."""
    ended: bool = False
    """It is there now; a reading that shows it elsewhere shows what came after."""


@define(eq=False)
class _Entry:
    changes: int
    """Grows with every invalidation; names the flights that began after it. No two entries share one."""
    watchers: int = 0
    snapshot: RefsSnapshot | None = None
    """What holds; None where something may have changed since it was read."""
    last: RefsSnapshot | None = None
    """What was read last, for the next reading to share with."""
    last_changes: int = 0
    """The flight that brought it."""
    expected: dict[str, ExpectedBranch] = field(factory=dict)


class RefsCache:
    """Snapshots by common dir."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self._entries: dict[Path, _Entry] = {}
        self._changes = count(1)
        self.comparisons = ComparisonCache()
        """Comparisons between commits; they depend on commit ids only and need no invalidation."""
        self._flights: SingleFlight[RefsSnapshot] = SingleFlight()
        self.confirm: Callable[[Path], bool] = lambda _common_dir: True
        """Whether what was read last is known to hold still; set by who watches, never blocks."""

    async def refs(self, repository: Repository, *, confirmed: bool = False) -> RefsSnapshot:
        """Return the branches; without a process if they are cached.

        Args:
            confirmed: the caller has just looked for changes itself.

        Raises:
            GitCommandError: git failed.
            GitTimeoutError: it took longer than ``Git.look_seconds``.
        """
        entry = self._entries.get(repository.common_dir)
        if entry is None:
            # Nobody watches, so nobody would tell about a change made while others were reading.
            return await self._read(repository)
        if (
            entry.snapshot is not None
            and not confirmed
            and not self.confirm(repository.common_dir)
        ):
            self.invalidate(repository.common_dir)
        known = entry.snapshot
        if known is not None:
            # Others may invalidate meanwhile; this is what held when it was asked for.
            await trio.lowlevel.checkpoint()
            return known
        changes = entry.changes
        snapshot = await self._flights.run(
            (repository.common_dir, changes), lambda: self._read(repository, entry.last)
        )
        if entry.last is None or entry.last_changes <= changes:
            entry.last, entry.last_changes = snapshot, changes
        if entry.changes == changes:
            entry.snapshot = snapshot
        return entry.last

    def invalidate(self, common_dir: Path) -> None:
        """Forget the branches of a repository: something of them may have changed."""
        entry = self._entries.get(common_dir)
        if entry is not None:
            entry.changes = next(self._changes)
            entry.snapshot = None

    def trust(self, common_dir: Path) -> None:
        """Say that changes of a common dir will be reported from now on. Counted."""
        entry = self._entries.get(common_dir)
        if entry is None:
            entry = self._entries[common_dir] = _Entry(next(self._changes))
        entry.watchers += 1

    def distrust(self, common_dir: Path) -> None:
        """Take back one :meth:`trust`; with the last one the branches are forgotten."""
        entry = self._entries.get(common_dir)
        if entry is None:
            return
        entry.watchers -= 1
        if entry.watchers <= 0:
            del self._entries[common_dir]

    @contextmanager
    def expecting(self, common_dir: Path, branch: str, tip: str | None) -> Iterator[None]:
        """Provisioning sets a branch within this context, so that its being there is no news.

        Args:
            tip: commit id; None where it is not known, and the branch is news like any other.

        Left with an error: the branch may be there or not, and is news.
        """
        entry = self._entries.get(common_dir)
        if entry is None or tip is None:
            yield
            return
        entry.expected[branch] = one = ExpectedBranch(tip)
        try:
            yield
        except BaseException:
            entry.expected.pop(branch, None)
            raise
        one.ended = True

    def expected(self, common_dir: Path) -> dict[str, ExpectedBranch]:
        """Branches that provisioning sets, or has set and nobody has seen: whoever sees one removes it."""
        entry = self._entries.get(common_dir)
        return {} if entry is None else entry.expected

    async def _read(
        self, repository: Repository, last: RefsSnapshot | None = None
    ) -> RefsSnapshot:
        result = await self._git.run(
            "for-each-ref",
            "--format=%(objectname) %(refname) %(symref)",
            _HEADS.rstrip("/"),
            _REMOTES.rstrip("/"),
            cwd=repository.common_dir,
            git_dir=repository.common_dir,
            timeout_seconds=self._git.look_seconds,
        )
        return parse_refs(result.stdout, _origin_head_file(repository.common_dir), last)


def parse_refs(
    listing: bytes, origin_head_text: str | None = None, last: RefsSnapshot | None = None
) -> RefsSnapshot:
    """Build a snapshot from ``<id> <name> <symref>`` lines.

    Args:
        origin_head_text: what the file of ``origin/HEAD`` holds; used when git lists no such ref because the
            branch it names is gone.
        last: an earlier snapshot of the same repository; what is as it was is taken from there, and where all
            is, the whole of it is returned.
    """
    shared = _Shared(last)
    heads: dict[str, str] = {}
    remotes: dict[str, str] = {}
    origin_target = (origin_head_text or "").removeprefix("ref:").strip()
    for line in listing.decode("utf-8", "surrogateescape").split("\n"):
        if not line:
            continue
        object_id, name, symref = line.split(" ", 2)
        if name == _ORIGIN_HEAD:
            origin_target = symref or origin_target
        if name.startswith(_HEADS):
            heads[shared.one(_text(name.removeprefix(_HEADS)))] = shared.one(object_id)
        elif not symref:
            remotes[shared.one(_text(name.removeprefix(_REMOTES)))] = shared.one(object_id)
    prefix = f"{_REMOTES}origin/"
    origin_head = (
        _text(origin_target.removeprefix(prefix)) if origin_target.startswith(prefix) else None
    )
    snapshot = RefsSnapshot(MappingProxyType(heads), MappingProxyType(remotes), origin_head)
    return last if last is not None and last == snapshot else snapshot


class _Shared:
    """One string for each name and commit id, the one that ``last`` has where it has one."""

    def __init__(self, last: RefsSnapshot | None) -> None:
        self._known: dict[str, str] = {}
        for mapping in () if last is None else (last.heads, last.remotes):
            self._known.update(zip(mapping, mapping, strict=True))
            self._known.update(zip(mapping.values(), mapping.values(), strict=True))

    def one(self, text: str) -> str:
        return self._known.setdefault(text, text)


def _text(name: str) -> str:
    """A branch name that is not UTF-8 keeps its bytes as ``\\xNN``, so that it fits into JSON."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _origin_head_file(common_dir: Path) -> str | None:
    try:
        return (common_dir / _ORIGIN_HEAD).read_text("utf-8", "surrogateescape")[:4096]
    except (OSError, ValueError):
        return None
