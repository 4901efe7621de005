"""The watches of one repository's work trees, and the branches that they read for each other.

An event of the shared git dir touches every watch of the repository. One of them reads the branches, says
whether there is something worth telling, and wakes the siblings only then.
"""

from collections.abc import Mapping
from itertools import count

from attrs import define, field, frozen

from bbhost.environment.ports import ChangeLike
from bbhost.watch.values import WatchBackend
from bbhost.watch.watch import Watch
from bbhost.workspace.refs import ExpectedBranch, RefsSnapshot
from bbhost.workspace.repository import Repository
from bbhost.workspace.tools import WorkspaceTools

_numbers = count(1)
"""Of news of branches: no two readings that differ share one, of whatever repository or time."""


@define(eq=False)
class SharedRefs:
    """One repository whose refs several watches follow."""

    seen: dict[Watch, int] = field(factory=dict)
    """The marks of each watch when the branches were last read."""
    _last: RefsSnapshot | None = None
    """What :meth:`note_branches` was given last."""
    _news: int = field(factory=lambda: next(_numbers))

    def is_current(self, watch: Watch) -> bool:
        """Whether no watch has seen the refs change since they were read.

        An event of the shared git dir touches every watch of the repository. One that has just been
        opened, and therefore doubts everything, learns from a sibling that is certain.
        """
        if self.seen.get(watch) == watch.refs_marks:
            return True
        return any(
            other.is_certain and marks == other.refs_marks
            for other, marks in self.seen.items()
            if other is not watch
        )

    def confirm(self) -> bool:
        """Take in what the kernel has queued; True where a watch is certain that nothing changed."""
        current = (watch for watch, marks in self.seen.items() if _has_not_moved(watch, marks))
        watch = next(current, None)
        if watch is not None:
            watch.drain_nowait()
            # The drain was for all watches, and an event of the refs touches each of them.
            if _has_not_moved(watch, self.seen[watch]):
                return True
        self.note_read()
        return False

    def note_read(self) -> None:
        """The branches are about to be read: what has happened so far will be in the answer."""
        for watch in self.seen:
            self.seen[watch] = watch.refs_marks

    def note_branches(
        self, refs: RefsSnapshot, expected: dict[str, ExpectedBranch], reader: Watch
    ) -> int:
        """Compare with the last reading; once for all watches.

        What is worth telling is told to the siblings of ``reader``: nobody else wakes them.

        Args:
            expected: what provisioning does with branches; those that are seen are removed.

        Returns:
            A number that is another one each time there was something worth telling.
        """
        last, self._last = self._last, refs
        if last is not None and refs is not last and _is_news(last, refs, expected):
            self._news = next(_numbers)
            for watch in self.seen:
                if watch is not reader:
                    watch.tell_refs()
        for name, one in list(expected.items()):
            tip = refs.heads.get(name)
            if tip == one.tip or (tip is not None and one.ended):
                del expected[name]
        return self._news


def _is_news(
    last: RefsSnapshot, refs: RefsSnapshot, expected: Mapping[str, ExpectedBranch]
) -> bool:
    """Whether anything differs but branches that are where provisioning sets them."""
    return (
        (last.remotes, last.origin_head) != (refs.remotes, refs.origin_head)
        or any(
            last.heads.get(name) != tip and (name not in expected or expected[name].tip != tip)
            for name, tip in refs.heads.items()
        )
        or not last.heads.keys() <= refs.heads.keys()
    )


def _has_not_moved(watch: Watch, marks: int) -> bool:
    return watch.is_certain and watch.refs_marks == marks


@frozen
class RepositoryWatch:
    """A watch of a git work tree, with the refs that it shares with its siblings."""

    watch: Watch
    repository: Repository
    tools: WorkspaceTools
    shared: SharedRefs

    @property
    def is_certain(self) -> bool:
        """Whether the marks tell all that has happened up to the last drain."""
        return self.watch.is_certain

    @property
    def is_settling(self) -> bool:
        """Whether the kernel's watches are still being set; their end makes another batch."""
        return self.watch.backend is WatchBackend.INOTIFY and self.watch.settling()

    @property
    def work_marks(self) -> int:
        """Grows with every event of the work tree, its git dir and the ignore rules."""
        return self.watch.workspace_marks

    def drain_nowait(self) -> None:
        """Take in all that the kernel has queued."""
        self.watch.drain_nowait()

    async def wait_changes(self) -> ChangeLike:
        """Wait for the next debounced batch."""
        return await self.watch.wait_changes()

    def describe(self) -> str:
        """Why it is not covered in full; empty when all is well."""
        return self.watch.coverage.reason

    async def read_refs(self) -> RefsSnapshot:
        """Return the branches: read anew only if some watch of the repository saw them change.

        The drain raises the marks of every watch of the repository together, so one invalidation
        answers for all of them.
        """
        if not self.shared.is_current(self.watch):
            self.tools.refs.invalidate(self.repository.common_dir)
            self.shared.note_read()
        self.shared.seen[self.watch] = self.watch.refs_marks
        return await self.tools.refs.refs(self.repository, confirmed=True)

    async def read_news(self) -> int:
        """Return a number that is another one when branches differ from the last time.

        What provisioning sets does not count. It posts nothing: the server knows. Told to every
        sibling, the branch of each new worktree would make the cost of N of them grow with the square
        of N. It is a number since as many readings as there are environments, each with all branches,
        would be held otherwise. It is also another one after all watches of the repository were gone,
        for nobody could have noticed what happened meanwhile.
        """
        refs = await self.read_refs()
        expected = self.tools.refs.expected(self.repository.common_dir)
        return self.shared.note_branches(refs, expected, self.watch)
