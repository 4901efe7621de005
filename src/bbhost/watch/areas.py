"""What is watched for a reason of its own: a directory with those below it that matter.

An area takes in raw events, synchronously, and remembers what has to be looked at: it decides, the
surveyor (``survey.py``) goes and looks. Paths are relative to the area's root, ``""`` for the root.

Pending paths, not nodes, are kept: events may be read long after the directory they speak of has
moved on, so each path is looked at afresh on disk, and what is found there counts.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection

import trio
from attrs import define, field

from bbhost.watch import kernel
from bbhost.watch.table import Node, WatchTable
from bbhost.watch.watch import Watch


@define(eq=False)
class Area(ABC):
    """A watched directory and what is below it."""

    root_path: str
    table: WatchTable
    wake: Callable[["Area"], None]
    """Called when there is work; asks for a task that settles this area."""
    limiter: trio.CapacityLimiter
    """Of the threads that read directories and files for the watches."""
    watches: list[Watch] = field(factory=list)
    """Those who are told."""
    root: Node | None = field(default=None, init=False)
    identity: tuple[int, int] | None = field(default=None, init=False)
    """Device and inode of the watched root."""
    pending: set[str] = field(factory=set, init=False)
    """Directories that appeared, or may have, and are not yet decided."""
    blind: set[str] = field(factory=set, init=False)
    """Directories that may not be read, so changes in them are not told."""
    needs_survey: bool = field(default=True, init=False)
    rules_read_at: int | None = field(default=None, init=False)
    """When what ``learn`` found out was true, nanoseconds since the epoch by the clock that file
    systems use; None if that does not grow old."""
    unsure: bool = field(default=True, init=False)
    """Changes may have been missed; told with the next announcement."""
    busy: bool = field(default=False, init=False)
    """A task is settling this area."""
    given_up: bool = field(default=False, init=False)
    scope: trio.CancelScope | None = field(default=None, init=False)
    """Of the settling task."""
    _quiet: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)

    @property
    def has_work(self) -> bool:
        """Whether something has to be looked at."""
        return self.needs_survey or bool(self.pending)

    @property
    def is_settled(self) -> bool:
        """Whether everything that matters is watched and decided."""
        return self.root is not None and not self.busy and not self.has_work and not self.blind

    @property
    def is_settling(self) -> bool:
        """Whether a task is at work, or about to be; the watches are told when it has ended."""
        return self.busy or (self.has_work and not self.given_up)

    def request(self) -> None:
        """Have the work done, unless that is under way or has been given up."""
        if self.has_work and not self.given_up:
            self.wake(self)

    @property
    def is_limited(self) -> bool:
        """Whether the budget of kernel watches holds for it."""
        return False

    # --- events -------------------------------------------------------------------------

    def handle(self, node: Node, mask: int, name: str) -> None:
        """Note an event (see ``NodeOwner``)."""
        if not name:
            self._handle_self(node, mask)
        else:
            self.handle_name(node, mask, name)
        if not self.busy:
            self.request()

    @abstractmethod
    def handle_name(self, node: Node, mask: int, name: str) -> None:
        """Note an event of ``name`` in the directory of ``node``."""

    def _handle_self(self, node: Node, mask: int) -> None:
        if node.parent is not None:
            # A directory that is moved or deleted is told of by its parent as well, by name. Only
            # the end of its watch has to be noted here: the parent's event may have been lost.
            if mask & kernel.REMOVED:
                self.table.forget(node)
                self.touch()
        elif mask & (kernel.REMOVED | kernel.MOVED):
            self.lose(node)
        else:
            self.touch()

    def note_directory(self, node: Node, mask: int, name: str, path: str) -> None:
        """Keep the nodes in step with a directory that came, went or changed its attributes."""
        child = node.children.get(name) if node.children else None
        if mask & kernel.VANISHED:
            if child is not None:
                self.table.forget(child)
            if self.busy:
                # The surveyor may be about to enter what has just gone: let it look again.
                self.pending.add(path)
        elif mask & kernel.APPEARED:
            if child is not None:
                self.table.forget(child)
            self.pending.add(path)
        elif child is None:
            # Attributes of a directory that is not watched: it may be readable now.
            self.pending.add(path)

    def lose(self, root: Node | None = None) -> None:
        """The root is gone or has been replaced: forget all and look again from the start."""
        root = root or self.root
        if root is not None:
            self.table.forget(root)
        if root is self.root:
            self.root = None
        self.doubt()

    def doubt(self) -> None:
        """Events may have been missed: nothing is certain until all has been surveyed."""
        self.needs_survey = True
        self.unsure = True
        self.touch()

    # --- telling ------------------------------------------------------------------------

    @abstractmethod
    def touch(self) -> None:
        """Tell the watches that something in this area was touched."""

    def announce(self) -> None:
        """Certainty is back: all that was computed meanwhile is void."""
        unsure, self.unsure = self.unsure, False
        for watch in self.watches:
            watch.touch(workspace=True, refs=unsure, unknown=unsure)
            watch.settled()

    # --- the surveyor's questions -------------------------------------------------------

    async def wait_prerequisites(self) -> None:
        """Wait for the areas whose changes this one must not miss."""
        await trio.lowlevel.checkpoint()

    async def learn(self) -> None:
        """Find out what a full survey has to know, after the root is watched."""
        await trio.lowlevel.checkpoint()

    async def check(self) -> None:
        """Look at what needs no survey; clears that part of ``has_work``."""
        await trio.lowlevel.checkpoint()

    @abstractmethod
    def admits(self, path: str) -> bool:
        """Whether a survey of everything goes into the directory ``path``. Asked from a thread."""

    async def unwanted_among(self, paths: Collection[str]) -> frozenset[str]:
        """Return those of some new directories that are not to be watched."""
        await trio.lowlevel.checkpoint()
        return frozenset(path for path in paths if not self.admits(path))

    @abstractmethod
    def rejected(self, paths: Collection[str]) -> None:
        """These new directories are not to be watched; remember it where that saves asking."""

    @property
    def looks_for_nested(self) -> bool:
        """Whether repositories inside are to be told apart."""
        return False

    def found_nested(self, path: str, git_dir: str) -> None:
        """The directory ``path`` is a repository of its own.

        Args:
            git_dir: its git dir, absolute; empty if it is (still) broken and counts as ordinary.
        """
        raise NotImplementedError(f"{self.root_path} cannot hold {path}, {git_dir}")

    def dispense(self) -> bool:
        """The root is missing. Whether the watch goes on without it; if so, it is let go of."""
        return False

    def parts(self) -> "tuple[Area, ...]":
        """This area and those that belong to it alone."""
        return (self,)

    # --- life ---------------------------------------------------------------------------

    async def wait_quiet(self) -> None:
        """Wait until no task is settling this area. Cancellation: safe."""
        await trio.lowlevel.checkpoint()
        while self.busy:
            await self._quiet.park()

    def quiet(self) -> None:
        """The settling task has ended."""
        self.busy = False
        self.scope = None
        self._quiet.unpark_all()

    def release(self) -> None:
        """Give up all kernel watches now, and whatever is under way."""
        self.given_up = True
        if self.scope is not None:
            self.scope.cancel()
        if self.root is not None:
            self.table.forget(self.root)
            self.root = None
        self.pending.clear()
        self.needs_survey = self.unsure = True
