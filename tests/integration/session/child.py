"""A session in a process of its own: ``python -m tests.integration.session.child URL KEY JOURNAL``.

For tests that kill it. Its one handler answers everything; ``BBHOST_FAULT`` says where it dies.
"""

import sys
from pathlib import Path
from typing import Any

import trio

from bbhost.contract.events import ThreadScope, ThreadStarted
from bbhost.contract.results import EmptyResult
from bbhost.domain.ids import HostId, ThreadId
from bbhost.journal.journal import open_journal
from bbhost.session.connection import SessionSettings
from bbhost.session.identity import HostIdentity
from bbhost.session.runner import Session, open_session
from bbhost.session.server_url import parse_server_url
from tests.integration.session.rig import HOST, FakeDaemon


async def main(url: str, key: str, path: Path) -> None:
    settings = SessionSettings(
        parse_server_url(url), HostIdentity(HostId(HOST), key), "child", path.parent, "instance"
    )
    session: Session

    async def rename(command: Any) -> EmptyResult:
        await session.events.publish(ThreadStarted(ThreadId(command.thread_id), ThreadScope()))
        return EmptyResult()

    handlers = {"thread.rename": rename}
    async with (
        open_journal(path) as journal,
        open_session(settings, journal, FakeDaemon(), handlers, poll_seconds=0.1) as session,
    ):
        await session.run()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], Path(sys.argv[3]))
