"""What others may ask of an environment that is ready.

A handle is valid for one stay in ``ready``. Everything it does runs inside that stay's nursery and ends
with it; afterwards every call raises EnvironmentDestroyedError.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from bbhost.domain.environment import EnvironmentRecord
from bbhost.domain.ids import EnvironmentId
from bbhost.domain.status import Diff, DiffTarget, WorkspaceStatus
from bbhost.environment.ports import OwnedBoundary, Workspaces
from bbhost.environment.ready import ReadyWork
from bbhost.environment.stay import ReadyStay

T = TypeVar("T")


class ReadyHandle:
    """One ready environment, as seen by commands, terminals and threads."""

    def __init__(
        self,
        record: EnvironmentRecord,
        stay: ReadyStay,
        work: ReadyWork,
        boundary: OwnedBoundary,
        workspaces: Workspaces,
    ) -> None:
        self.record = record
        self.stay = stay
        self.boundary = boundary
        self._work = work
        self._workspaces = workspaces

    @property
    def environment_id(self) -> EnvironmentId:
        """The environment's id."""
        return self.record.environment_id

    @property
    def path(self) -> str:
        """Absolute path of the workspace."""
        return self.record.path

    async def call(self, fn: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run ``fn`` inside this stay (``ReadyStay.call``)."""
        return await self.stay.call(fn, *args)

    async def status(self, merge_base_branch: str | None) -> WorkspaceStatus:
        """Answer ``workspace.status``; git runs only if something has changed.

        Raises:
            BbhostError: path_not_found, not_git_repo, git_command_failed, git_command_timeout.
        """
        self._work.ask_to_watch()
        reading = await self.stay.call(self._work.cache.read, merge_base_branch)
        self._work.note_answered(reading)
        return reading.status

    async def diff(
        self, target: DiffTarget, max_diff_chars: int, max_file_list_chars: int
    ) -> Diff:
        """Answer ``workspace.diff``. Limits count characters."""
        return await self.stay.call(
            self._workspaces.read_diff, self.path, target, max_diff_chars, max_file_list_chars
        )
