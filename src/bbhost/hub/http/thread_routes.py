"""Public operations on threads, and the socket that streams their events."""

import trio
from attrs import frozen

from bbhost.contract.codec import encode_json
from bbhost.contract.fields import Count, NonEmpty, PositiveInt
from bbhost.contract.wire import absent
from bbhost.errors import BbhostError
from bbhost.hub.api.hosts import Acknowledgement
from bbhost.hub.api.threads import (
    AppDataList,
    EventPage,
    RenameThread,
    StartThread,
    SubmittedTurn,
    SubmitTurn,
    Thread,
    ThreadList,
)
from bbhost.hub.http.asgi import Receive, Scope, Send, query_values, refuse
from bbhost.hub.http.operations import (
    ACCEPTED,
    CREATED,
    DAEMON_ERRORS,
    Call,
    Operation,
    read_query,
)
from bbhost.hub.http.public_socket import public_subprotocol
from bbhost.hub.http.sockets import HangUp, accept_socket, run_socket
from bbhost.hub.services.assembly import Services
from bbhost.hub.services.core import Core
from bbhost.hub.services.outbox import CLOSE_POLICY, Outbox
from bbhost.hub.services.threads import Threads

THREADS = "/api/v1/threads"
THREAD = "/api/v1/threads/{thread_id}"
STREAM = f"{THREAD}/stream"


@frozen
class ThreadsQuery:
    """Which threads."""

    environment_id: NonEmpty | None = absent()


@frozen
class EventsQuery:
    """Events after which sequence, how many, and how long to wait for the first of them."""

    after: Count | None = absent()
    limit: PositiveInt | None = absent()
    wait_ms: Count | None = absent()


@frozen
class StreamQuery:
    """Events after which sequence; all where it is left out."""

    after: Count | None = absent()


def thread_operations(threads: Threads, core: Core) -> tuple[Operation, ...]:
    """Return the operations on threads."""

    async def start(call: Call) -> object:
        return await threads.start(call.body)

    async def list_all(call: Call) -> object:
        return await threads.list(call.query.environment_id)

    async def get(call: Call) -> object:
        return await threads.get(call.path["thread_id"])

    async def submit(call: Call) -> object:
        return await threads.submit(call.path["thread_id"], call.body)

    async def stop(call: Call) -> object:
        return await threads.stop(call.path["thread_id"])

    async def rename(call: Call) -> object:
        return await threads.rename(call.path["thread_id"], call.body.title)

    async def archive(call: Call) -> object:
        return await threads.archive(call.path["thread_id"])

    async def unarchive(call: Call) -> object:
        return await threads.unarchive(call.path["thread_id"])

    async def delete(call: Call) -> object:
        await threads.delete(call.path["thread_id"])
        return Acknowledgement()

    async def app_data(call: Call) -> object:
        return await threads.app_data(call.path["thread_id"])

    async def events(call: Call) -> object:
        return await _events(threads, core, call.path["thread_id"], call.query)

    return (
        Operation(
            "POST", THREADS, "startThread", "Start a thread with its first turn",
            start, Thread, status=CREATED, body=StartThread, errors=(404, 409),
        ),
        Operation(
            "GET", THREADS, "listThreads", "List threads", list_all, ThreadList,
            query=ThreadsQuery,
        ),
        Operation("GET", THREAD, "getThread", "Show a thread", get, Thread),
        Operation(
            "PATCH", THREAD, "renameThread", "Give a thread another title", rename, Thread,
            body=RenameThread,
        ),
        Operation(
            "DELETE", THREAD, "deleteThread", "Delete a thread with its events and storage",
            delete, Acknowledgement,
        ),
        Operation(
            "POST", f"{THREAD}/turns", "submitTurn", "Say more to a thread", submit,
            SubmittedTurn, body=SubmitTurn, errors=(409, *DAEMON_ERRORS),
        ),
        Operation(
            "POST", f"{THREAD}/stop", "stopThread", "Interrupt the turn under way", stop, Thread,
            status=ACCEPTED, errors=(415,),
        ),
        Operation(
            "POST", f"{THREAD}/archive", "archiveThread", "Put a thread away", archive, Thread,
            errors=(409, 415),
        ),
        Operation(
            "POST", f"{THREAD}/unarchive", "unarchiveThread", "Take a thread out again",
            unarchive, Thread, errors=(415,),
        ),
        Operation(
            "GET", f"{THREAD}/events", "listEvents", "Show events, waiting for the first if asked",
            events, EventPage, query=EventsQuery,
        ),
        Operation(
            "GET", f"{THREAD}/app-data", "listAppData", "Show what the thread's apps have written",
            app_data, AppDataList,
        ),
    )  # fmt: skip


async def _events(threads: Threads, core: Core, thread_id: str, query: EventsQuery) -> EventPage:
    """Return a page of events, waiting up to the asked time for a first one."""
    limit = min(query.limit or core.config.limits.event_page, core.config.limits.event_page)
    longest = core.config.timings.long_poll_longest_seconds
    deadline = trio.current_time() + min((query.wait_ms or 0) / 1000, longest)
    with core.waiters.watch_events(thread_id) as appended:
        while True:
            seen = appended.value
            page = await threads.events(thread_id, query.after or 0, limit)
            remaining = deadline - trio.current_time()
            if page.events or remaining <= 0:
                return page
            with trio.move_on_after(remaining):
                await appended.wait_value(seen.__ne__)


class ThreadStream:
    """The ASGI application that streams the events of a thread, each a ``StoredEvent``."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        thread_id = scope["path_params"]["thread_id"]
        try:
            query = read_query(StreamQuery, query_values(scope))
            await self._services.threads.get(thread_id)
        except BbhostError as error:
            await refuse(scope, send, error)
            return
        after = query.after if isinstance(query, StreamQuery) and query.after else 0
        if await accept_socket(receive, send, public_subprotocol(scope)):
            await self._run(thread_id, after, receive, send)

    async def _run(self, thread_id: str, after: int, receive: Receive, send: Send) -> None:
        config = self._services.core.config
        # A page is put only when the one before it was taken, so the line is never cut.
        outbox: Outbox[str] = Outbox(config.limits.event_page)
        self._services.streams.add(outbox)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._feed, thread_id, after, outbox)
                await run_socket(
                    receive,
                    send,
                    outbox,
                    encode=str,
                    handle=_refuse_message,
                    longest_message=config.limits.public_message_bytes,
                    config=config,
                )
                nursery.cancel_scope.cancel("the client has gone")
        finally:
            self._services.streams.discard(outbox)

    async def _feed(self, thread_id: str, after: int, outbox: Outbox[str]) -> None:
        core, threads = self._services.core, self._services.threads
        with core.waiters.watch_events(thread_id) as appended:
            while outbox.is_open:
                seen = appended.value
                page = await threads.events(thread_id, after, core.config.limits.event_page)
                for event in page.events:
                    outbox.put(encode_json(event))
                after = page.last_sequence
                await outbox.wait_drained()
                if not page.events:
                    await appended.wait_value(seen.__ne__)


def _refuse_message(_text: str) -> None:
    raise HangUp(CLOSE_POLICY, "invalid-message")
