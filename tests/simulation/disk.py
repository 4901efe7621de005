"""What survives the daemon: files with unsynced changes, and a journal that syncs them.

Changes of files are applied at once and kept in order until the next synchronisation. The journal
synchronises with every save, and with it all that was changed before, as file systems with ordered
metadata do. A killed daemon loses nothing of its files; a power failure keeps a drawn number of the
first unsynced changes and drops the rest.
"""

from collections.abc import Callable

from attrs import define, evolve, field, frozen

from bbhost.domain.environment import EnvironmentRecord
from bbhost.domain.ids import CommandId, EnvironmentId, Incarnation
from bbhost.journal.values import InboxEntry, OutboxEntry

Owner = tuple[EnvironmentId, Incarnation]


@frozen
class Place:
    """One workspace directory."""

    managed: bool
    worktree: bool
    maker: Owner | None = None
    """The incarnation that made it; None: it was there before."""
    whole: bool = True
    content: int = 0
    """Grows with every write of a user; what a status must know."""
    tip: int = 0
    """The commit that its branch is at."""


@define(eq=False, repr=False)
class Files:
    """The files at one moment. Dictionaries only, so that every order is replayed."""

    places: dict[str, Place] = field(factory=dict)
    registered: dict[str, None] = field(factory=dict)
    """Paths that git knows as worktrees."""
    trash: dict[str, Place] = field(factory=dict)
    rescued: dict[Owner, int] = field(factory=dict)
    """Content of which a copy is kept, by incarnation."""
    written: dict[str, int] = field(factory=dict)
    """What users wrote into unmanaged places: nothing else may change them."""
    foreign: dict[str, None] = field(factory=dict)
    """Paths that a user has removed or put there behind the daemon's back."""

    def copy(self) -> "Files":
        return Files(
            dict(self.places),
            dict(self.registered),
            dict(self.trash),
            dict(self.rescued),
            dict(self.written),
            dict(self.foreign),
        )

    def write(self, path: str, **changes: object) -> None:
        """Change the place at ``path`` where there is one."""
        place = self.places.get(path)
        if place is not None:
            self.places[path] = evolve(place, **changes)


Change = Callable[[Files], object]


@define(eq=False, repr=False)
class Rows:
    """The journal. Every change of it is durable at once."""

    environments: dict[EnvironmentId, EnvironmentRecord] = field(factory=dict)
    inbox: dict[CommandId, InboxEntry] = field(factory=dict)
    outbox: dict[int, OutboxEntry] = field(factory=dict)
    settled: dict[CommandId, str] = field(factory=dict)
    next_seq: int = 1


@define(eq=False, repr=False)
class Disk:
    """Files and journal of one host."""

    files: Files = field(factory=Files)
    rows: Rows = field(factory=Rows)
    _synced: Files = field(factory=Files)
    _unsynced: list[Change] = field(factory=list)

    def change(self, change: Change) -> None:
        """Change files; a power failure may still drop it."""
        change(self.files)
        self._unsynced.append(change)

    def sync(self) -> None:
        """Everything changed so far survives from now on."""
        for change in self._unsynced:
            change(self._synced)
        self._unsynced.clear()

    @property
    def unsynced(self) -> int:
        """Number of changes that a power failure may drop."""
        return len(self._unsynced)

    def lose_power(self, kept: int) -> None:
        """Keep the first ``kept`` unsynced changes only."""
        del self._unsynced[kept:]
        self.sync()
        self.files = self._synced.copy()
