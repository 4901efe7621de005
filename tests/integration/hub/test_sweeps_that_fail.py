"""What a sweep could not do for want of a disk, the next one does."""

import sqlite3
from pathlib import Path

import pytest
from attrs import define, evolve, field

from bbhost.contract.messages import SessionCloseReason
from bbhost.contract.session import SessionOpenRequest
from bbhost.domain.ids import HostId
from bbhost.hub.config import HubConfig, HubTimings
from bbhost.hub.services.assembly import assemble
from bbhost.hub.services.core import Aftermath
from bbhost.hub.services.session_life import SessionLife
from bbhost.hub.storage.database import HubDatabaseError, open_database
from bbhost.hub.storage.hosts import HostRecord


@define
class Follower:
    """Hears of abandoned sessions; the first time the disk is full."""

    abandoned_ids: list[str] = field(factory=list)
    full: bool = True

    def opening(
        self,
        db: sqlite3.Connection,
        after: Aftermath,
        host: HostRecord,
        request: SessionOpenRequest,
    ) -> None:
        """Not of interest."""

    def abandoned(self, db: sqlite3.Connection, after: Aftermath, session_id: str) -> None:
        if self.full:
            self.full = False
            raise sqlite3.OperationalError("database or disk is full")
        self.abandoned_ids.append(session_id)


async def test_questions_of_a_session_that_is_gone_are_ended_by_the_next_sweep(
    tmp_path: Path,
) -> None:
    """They would stay open for ever."""
    config = HubConfig(tmp_path, timings=evolve(HubTimings(), interaction_grace_seconds=0.0))
    follower = Follower()
    async with open_database(tmp_path / "hub.sqlite") as database:
        core = assemble(config, database, "http://127.0.0.1:1").core
        life = SessionLife(core, (), (follower,))
        session, _ = core.sessions.open(HostId("host_1"), "instance")
        await life.end(session, SessionCloseReason.DAEMON_DISCONNECT)
        with pytest.raises(HubDatabaseError):
            await life.sweep()
        await life.sweep()
        assert follower.abandoned_ids == [session.id]
        await life.sweep()
        assert follower.abandoned_ids == [session.id], "once is enough"
