"""One watch: what its owner sees of it, whichever backend finds the changes.

An idle watch is a few objects and, where its owner waits, one parked task: no timer, no thread. The
debouncing is done by the waiting task itself, once something has changed.

**Freshness.** ``drain_nowait()`` followed by "``is_certain`` and ``marks`` equals the value read
*before* the answer was computed" means: the tree is as it was when that computation began. Because:

1. The kernel queues the event of a write, rename, chmod, mkdir ... before the system call returns,
   so every change that finished before the drain is in the queue; the drain reads all of it.
2. Every queued event of a watched directory raises a mark before the drain returns.
3. A change in a directory that is not watched is impossible, or is announced by an event that was
   queued before it: a new directory by its CREATE or MOVED_TO; a directory that is no longer
   ignored by a change of a rule file, of the configuration, or (ignored, but tracked now) of the
   index. Each of these takes the certainty away while it is handled by the drain.
4. Certainty comes back only after the directory's watch is set *and then* its content surveyed, or
   after git has said that it is ignored; and coming back raises the marks. So nothing computed in
   between counts as fresh.
5. The root, as a path, is compared with the directory that is watched, at every drain: a parent
   directory that was renamed or replaced makes no event.

What the kernel does not tell, and an age limit of the answer must bound: writes through a shared
mapping after its file was closed (before that, CLOSE_WRITE comes with the close); writes through a
hard link that lies outside of the tree or in an ignored directory; changes made by another machine,
or behind an overlay or bind mount in its own layers; changes of files that configuration names and
``WatchSettings.rule_files`` does not.
"""

from collections.abc import Callable

import trio
from attrs import define, field

from bbhost.watch.debounce import Debounce
from bbhost.watch.values import ChangeBatch, Coverage, IgnoreOracle, WatchBackend, WatchTarget


def _no() -> bool:
    return False


def _none() -> int:
    return 0


@define(eq=False)
class Watch:
    """What changed below one target, for one owner. Made by ``WatchService.open_watch``."""

    target: WatchTarget
    oracle: IgnoreOracle
    _debounce: Debounce
    _drain: Callable[["Watch"], None]
    """The service's drain; also restarts a watch that was given up."""
    backend: WatchBackend = WatchBackend.NONE
    reason: str = "starting"
    """Why it is not covered by the preferred backend; for ``coverage``."""
    closed: bool = False
    workspace_marks: int = field(default=0, init=False)
    """Counts raw events in the tree, in its own git dir, and of the ignore rules. Not enough for an
    answer that depends on the commit of HEAD: its branch is a ref, see ``refs_marks``."""
    refs_marks: int = field(default=0, init=False)
    """Counts raw events of the refs all worktrees of the repository share. When only these have
    grown, an answer still holds if the refs it was made from read the same."""
    certainty: Callable[[], bool] = field(default=_no, init=False)
    """Set by the backend."""
    settling: Callable[[], bool] = field(default=_no, init=False)
    """Set by the backend: it is still finding out what to watch, and touches the watch when it has."""
    directories: Callable[[], int] = field(default=_none, init=False)
    """Set by the backend."""
    is_waiting: bool = field(default=False, init=False)
    """The owner is in ``wait_changes``, so it takes what comes after at most one burst."""
    _workspace: bool = field(default=False, init=False)
    _refs: bool = field(default=False, init=False)
    _unknown: bool = field(default=False, init=False)
    _refs_given: bool = field(default=False, init=False)
    """The owner has been told of refs and may still be reading them."""
    _changed: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)
    _settled: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)

    def __repr__(self) -> str:
        state = "closed" if self.closed else self.backend.value
        return f"<Watch {self.target.root} {state} marks={self.marks}>"

    # --- for the owner ------------------------------------------------------------------

    def drain_nowait(self) -> None:
        """Take in all that the kernel has queued, for every watch. Synchronous, no checkpoint.

        Costs microseconds when nothing has happened. Counts as asking again: a watch that was
        given up starts over.
        """
        self._drain(self)

    @property
    def marks(self) -> int:
        """Grows with every raw event that touched this watch, and when certainty is won or lost."""
        return self.workspace_marks + self.refs_marks

    @property
    def is_certain(self) -> bool:
        """Whether equal marks mean that nothing has changed. Look after ``drain_nowait``."""
        return not self.closed and self.certainty()

    @property
    def coverage(self) -> Coverage:
        """What is watched at the moment, and why not more."""
        return Coverage(self.backend, self.directories(), self.is_certain, self.reason)

    async def wait_changes(self) -> ChangeBatch:
        """Wait for a burst of changes to end and return what it touched.

        The first batch after the start, after an overflow and after a gap says ``unknown``. Meant
        for one waiting task; a second one gets only what the first has not taken.

        Of the watches that share a repository's refs, only one is told that they were touched. Its
        owner reads them, and tells the others (``tell_refs``) if what it finds concerns them.
        Asking for the next batch says that this has been done.

        Cancellation: safe at any point; nothing is lost, the next call returns the same batch.
        """
        self._refs_given = False  # what was given out before has been dealt with
        self.is_waiting = True
        try:
            await trio.lowlevel.checkpoint()
            while True:
                due_at = self._debounce.due_at
                if due_at is None:
                    await self._changed.park()
                elif due_at > trio.current_time():
                    await trio.sleep_until(due_at)
                else:
                    return self._take()
        finally:
            self.is_waiting = False

    def tell_refs(self) -> None:
        """A sibling has read the shared refs, and they differ: the owner hears of it at once."""
        self._refs = True
        self._debounce.end(trio.current_time())
        if self._changed:
            self._changed.unpark_all()

    async def wait_certain(self) -> None:
        """Wait until ``is_certain``; for ever where the backend can not be. Cancellation: safe."""
        await trio.lowlevel.checkpoint()
        while not self.is_certain:
            await self._settled.park()

    async def wait_backend(self, backend: WatchBackend) -> None:
        """Wait until changes are found out by ``backend``. Cancellation: safe."""
        await trio.lowlevel.checkpoint()
        while self.backend is not backend:
            await self._settled.park()

    # --- for the backends ---------------------------------------------------------------

    def touch(self, *, workspace: bool = False, refs: bool = False, unknown: bool = False) -> None:
        """Something was touched. Raises the marks and wakes the owner."""
        if workspace or unknown:
            self.workspace_marks += 1
        if refs or unknown:
            self.refs_marks += 1
        self._workspace |= workspace
        self._unknown |= unknown
        self._note(refs)

    def note_refs(self) -> None:
        """The owner is to read the refs; their marks have been raised already."""
        self._note(refs=True)

    def _note(self, refs: bool) -> None:
        self._refs |= refs
        self._debounce.note(trio.current_time())
        if self._changed:
            self._changed.unpark_all()

    @property
    def is_at_rest(self) -> bool:
        """Whether the owner waits and nothing is on its way to it."""
        return self.is_waiting and self._debounce.due_at is None

    @property
    def has_refs(self) -> bool:
        """Whether the next batch speaks of refs."""
        return self._refs

    @property
    def owes_refs(self) -> bool:
        """Whether siblings rely on the owner to read the refs, and it may not have done so."""
        return self._refs or self._refs_given

    def uncover(self) -> None:
        """No backend speaks for it any more, or holds it."""
        self.certainty = self.settling = _no
        self.directories = _none

    def covered_by(self, backend: WatchBackend, reason: str = "") -> None:
        """A backend has taken over, or none has; the reason says why it is not the best one."""
        self.backend = backend
        self.reason = reason
        self.settled()

    def settled(self) -> None:
        """Coverage or certainty may have changed; wakes those who wait for that."""
        if self._settled:
            self._settled.unpark_all()

    def _take(self) -> ChangeBatch:
        batch = ChangeBatch(self._workspace, self._refs, self._unknown)
        self._refs_given = self._refs or self._unknown
        self._workspace = self._refs = self._unknown = False
        self._debounce.take()
        return batch
