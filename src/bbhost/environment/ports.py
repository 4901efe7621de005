"""What the owner of an environment needs from the world.

Interfaces only. ``environment/workspaces.py`` is the real implementation over git and files; the
simulation in the tests has another one, which can crash.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from attrs import frozen

from bbhost.contract.session import EnvironmentChange
from bbhost.domain.environment import EnvironmentRecord
from bbhost.domain.ids import EnvironmentId, Incarnation
from bbhost.domain.status import Diff, DiffTarget
from bbhost.domain.workspace import (
    Checkout,
    DiscoveredWorkspace,
    TranscriptEntry,
    WorkspaceKind,
    WorkspaceSpec,
)
from bbhost.processes.spawn import ProcessOpener
from bbhost.workspace.refs import RefsSnapshot
from bbhost.workspace.status import StatusReading

EntrySink = Callable[[TranscriptEntry], None]
"""Receives each transcript entry as it is written. Never blocks."""


class OwnedBoundary(ProcessOpener, Protocol):
    """The processes of one incarnation (``processes/boundary.py``)."""

    async def end(self, grace_seconds: float = ...) -> object:
        """End every process of the boundary; returns when none is left or after its bound."""
        ...


class OwnedWatch(Protocol):
    """A watch of one workspace (``watch/``)."""

    @property
    def is_certain(self) -> bool:
        """Whether the counters tell all that has happened up to the last drain."""
        ...

    @property
    def is_settling(self) -> bool:
        """Not certain yet, but on the way: a batch that says ``unknown`` follows when it is."""
        ...

    @property
    def work_marks(self) -> int:
        """Grows with every event in the work tree, in the worktree's own git dir, or of its rules."""
        ...

    def drain_nowait(self) -> None:
        """Take in all that the kernel has queued, without a checkpoint."""
        ...

    async def wait_changes(self) -> "ChangeLike":
        """Wait for the next debounced batch; the first one says ``unknown``."""
        ...

    async def read_refs(self) -> RefsSnapshot:
        """Return the branches as of the last drain, read once for all who share the repository."""
        ...

    async def read_news(self) -> int:
        """Return a number that is another one when branches have changed in a way worth telling:
        without those that provisioning made."""
        ...

    def describe(self) -> str:
        """Why it is not covered in full, for people; empty when all is well."""
        ...


class ChangeLike(Protocol):
    """One debounced batch of changes."""

    @property
    def workspace(self) -> bool:
        """The work tree or the worktree's git directory may have changed."""
        ...

    @property
    def refs(self) -> bool:
        """The refs of the repository may have changed."""
        ...

    @property
    def unknown(self) -> bool:
        """Anything may have changed."""
        ...


class Workspaces(Protocol):
    """Git and files of environments. Every method may raise BbhostError; all are cancellable."""

    async def exists(self, path: str) -> bool:
        """Whether there is anything at ``path`` (a dangling symlink counts)."""
        ...

    async def is_intact(self, record: EnvironmentRecord) -> bool:
        """Whether a workspace that is ours to remove is still at its path, and not something else."""
        ...

    async def provision(
        self,
        environment_id: EnvironmentId,
        incarnation: Incarnation,
        spec: WorkspaceSpec,
        boundary: OwnedBoundary,
        on_entry: EntrySink,
        before_creating: Callable[[], Awaitable[None]],
    ) -> DiscoveredWorkspace:
        """Make or attach the workspace. Awaits ``before_creating`` before the first thing is made."""
        ...

    async def discover(self, path: str, kind: WorkspaceKind) -> DiscoveredWorkspace:
        """Describe a workspace that exists; PathNotFoundError where it does not."""
        ...

    async def switch_checkout(self, path: str, checkout: Checkout, on_entry: EntrySink) -> None:
        """Switch the branch of an unmanaged workspace."""
        ...

    def open_watch(self, path: str) -> AbstractAsyncContextManager[OwnedWatch]:
        """Watch a workspace; NotGitRepoError or PathNotFoundError where there is nothing to watch."""
        ...

    async def read_status(self, path: str, merge_base_branch: str | None) -> StatusReading:
        """Compute the status; NotGitRepoError, PathNotFoundError, GitTimeoutError."""
        ...

    async def read_diff(
        self, path: str, target: DiffTarget, max_diff_chars: int, max_file_list_chars: int
    ) -> Diff:
        """Compute a diff."""
        ...

    async def run_teardown_hook(self, record: EnvironmentRecord, boundary: OwnedBoundary) -> None:
        """Run the workspace's own teardown script, if it has one."""
        ...

    async def rescue(self, record: EnvironmentRecord) -> None:
        """Keep work that would be lost with the workspace."""
        ...

    async def move_to_trash(self, record: EnvironmentRecord) -> None:
        """Take the workspace off its path, atomically."""
        ...

    async def deregister(self, record: EnvironmentRecord) -> None:
        """Make the repository forget exactly this worktree."""
        ...

    async def prune_parent(self, record: EnvironmentRecord) -> None:
        """Remove the workspace's parent directory if it is empty and managed."""
        ...

    def wake_trash(self) -> None:
        """Something was put into the trash. Never blocks."""
        ...

    async def rollback(self, record: EnvironmentRecord) -> None:
        """Remove what this incarnation's provisioning made, and nothing else."""
        ...


class EnvironmentJournal(Protocol):
    """Durable memory of environments (``journal/``)."""

    async def save_environment(self, record: EnvironmentRecord) -> None:
        """Durable when it returns; JournalError when it could not be made so."""
        ...

    async def forget_environment(self, environment_id: EnvironmentId) -> None:
        """Drop the record of an environment; JournalError when it could not be done."""
        ...


@frozen
class EnvironmentServices:
    """What every environment shares."""

    journal: EnvironmentJournal
    workspaces: Workspaces
    open_boundary: Callable[[EnvironmentId, Incarnation], OwnedBoundary]
    note_change: Callable[[EnvironmentId, EnvironmentChange], None]
    """A change to be posted to the server. Never blocks."""
    note_idle: Callable[[EnvironmentId], None]
    """The environment has no active work any more. Never blocks."""
    now_ms: Callable[[], int]
    """Wall clock, milliseconds since the epoch."""
    note_transition: Callable[[EnvironmentId, str, str, str], None] = (
        lambda _id, _source, _target, _event: None
    )
    """A transition has been made: of whom, from, to, and the event that led to it. Never blocks."""
