"""What is examined: a data directory, and the daemon that runs on it where it examines itself."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import trio
from attrs import define, field

from bbhost.daemon.config import Config
from bbhost.domain.environment import EnvironmentRecord, EnvironmentState
from bbhost.workspace.git import Git

if TYPE_CHECKING:
    from bbhost.daemon.assembly import Parts

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

THREADS = 6
"""Checks that look at files at once. One that hangs on a dead disk keeps its thread until it returns."""
LOOK_AGAIN_SECONDS = 0.25
"""Before a discrepancy is reported that a change in progress may explain, it is looked at once more."""


@define(eq=False)
class Subject:
    """One examination's view of the world."""

    config: Config
    git: Git
    parts: "Parts | None" = None
    """The daemon itself; None when it is looked at from outside."""
    outside_records: tuple[EnvironmentRecord, ...] = ()
    """Of the journal, read from outside."""
    journal_trouble: str = ""
    """Why the journal could not be read from outside."""
    owner_pid: int | None = None
    """Pid of the daemon that owns the data directory, looked at from outside."""
    _limiter: trio.CapacityLimiter = field(
        factory=lambda: trio.CapacityLimiter(THREADS), init=False
    )

    @property
    def data_dir(self) -> Path:
        """The daemon's data directory."""
        return self.config.data_dir

    def records(self) -> list[EnvironmentRecord]:
        """Every environment on record, as of now."""
        if self.parts is None:
            return list(self.outside_records)
        return self.parts.supervisor.records()

    def live_records(self) -> list[EnvironmentRecord]:
        """Those that are not tombstoned."""
        return [r for r in self.records() if r.state is not EnvironmentState.TOMBSTONED]

    async def look(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a blocking look in a thread.

        Cancellation: at once; the thread is left to finish by itself, its result is dropped. It only reads.
        """
        return await trio.to_thread.run_sync(
            function, *args, abandon_on_cancel=True, limiter=self._limiter
        )
