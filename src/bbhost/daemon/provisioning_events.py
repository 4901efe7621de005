"""Live transcript entries of a provisioning, as events of the thread that asked for it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from bbhost.contract.commands import Initiator
from bbhost.contract.events import ThreadEvent, ThreadProvisioning, ThreadScope
from bbhost.domain.ids import EnvironmentId
from bbhost.domain.workspace import TranscriptEntry
from bbhost.environment.ports import EntrySink

WAITING_ENTRIES = 10_000
"""Entries that wait to be published; a transcript is bounded below this, so it is never reached."""

Publish = Callable[[ThreadEvent], Awaitable[None]]


@asynccontextmanager
async def streamed_entries(
    environment_id: EnvironmentId, initiator: Initiator | None, publish: Publish
) -> AsyncIterator[EntrySink]:
    """Give a sink for transcript entries; all of them are published when the block is left."""
    if initiator is None:
        yield lambda _entry: None
        return
    send, receive = trio.open_memory_channel[TranscriptEntry](WAITING_ENTRIES)

    async def publish_all() -> None:
        async with receive:
            async for entry in receive:
                await publish(
                    ThreadProvisioning(
                        thread_id=initiator.thread_id,
                        scope=ThreadScope(),
                        provisioning_id=initiator.provisioning_id,
                        status="active",
                        environment_id=environment_id,
                        entries=(entry,),
                    )
                )

    def note(entry: TranscriptEntry) -> None:
        try:
            send.send_nowait(entry)
        except trio.WouldBlock:
            return

    async with trio.open_nursery() as publishing:
        publishing.start_soon(publish_all)
        with send:
            yield note
