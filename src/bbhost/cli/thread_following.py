"""Following a thread's events over the hub's stream."""

from collections.abc import Callable
from contextlib import aclosing

import trio
from attrs import define

from bbhost.cli.asking import asking, can_ask
from bbhost.cli.client import HubClient, segment
from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.cli.printing import clean, say, say_json
from bbhost.cli.sockets import messages, open_socket
from bbhost.cli.thread_events import Event, Rendering, ends_turn
from bbhost.contract.codec import parse_json
from bbhost.hub.api.threads import Interaction, InteractionList, Thread
from bbhost.toolkit.value import AsyncValue

RECONNECTS = 20
RECONNECT_PAUSE_SECONDS = 0.5


def thread_path(thread_id: str, rest: str = "") -> str:
    """Return the path of a thread's resource."""
    return f"/threads/{segment(thread_id)}{rest}"


async def follow_events(
    client: HubClient, thread_id: str, after: int, take: Callable[[Event], bool]
) -> None:
    """Hand each stored event after a sequence to ``take``, until that returns True.

    Raises:
        CommandError: the thread is unknown, or the hub has gone for longer than it may.
    """
    failures = 0
    while failures < RECONNECTS:
        await client.get(Thread, thread_path(thread_id))
        path = thread_path(thread_id, f"/stream?after={after}")
        async with open_socket(client.server, path) as socket, aclosing(messages(socket)) as told:
            async for text in told:
                stored: Event = parse_json(text)
                after, failures = stored["sequence"], 0
                if take(stored):
                    return
        failures += 1
        await trio.sleep(RECONNECT_PAUSE_SECONDS)
    raise CommandError(Outcome.UNREACHABLE, f"The hub at {client.server.url} has gone")


@define(eq=False)
class Progress:
    """How far the printing of a thread's events has come."""

    seen: AsyncValue[int]
    """Sequence of the last event that was printed."""
    end: Event | None = None
    """The event that ended a turn, where that is what is awaited."""


async def print_events(
    client: HubClient,
    thread_id: str,
    after: int,
    *,
    as_json: bool,
    until_idle: bool,
    progress: Progress | None = None,
) -> None:
    """Print events as they come; until one ends a turn, where that is what is awaited.

    Args:
        progress: kept up to date; the end of a turn is in it together with its sequence.
    """
    kept = progress or Progress(AsyncValue(after))
    rendering = Rendering(tells_questions=not can_ask(as_json=as_json))

    def take(stored: Event) -> bool:
        event: Event = stored["event"]
        if as_json:
            say_json(stored)
        else:
            for line in rendering.lines(event):
                say(clean(line))
        if until_idle and ends_turn(event):
            kept.end = event
        kept.seen.value = stored["sequence"]
        return kept.end is not None

    await follow_events(client, thread_id, after, take)


async def wait_broken(client: HubClient, thread_id: str) -> Thread:
    """Wait until a thread is in error: then no turn of it ends any more. Return it."""
    while True:
        # The socket first: a change after the question is never missed then.
        async with open_socket(client.server, "/ws") as socket, aclosing(messages(socket)) as told:
            async for text in told:
                message: Event = parse_json(text)
                about = message.get("thread", {}).get("id")
                if message["type"] != "hello" and about != thread_id:
                    continue
                thread = await client.get(Thread, thread_path(thread_id))
                if thread.state == "error":
                    return thread
        await trio.sleep(RECONNECT_PAUSE_SECONDS)


async def follow_turn(client: HubClient, thread_id: str, after: int, *, as_json: bool) -> Event:
    """Print a turn until it ends; return the event it ended with.

    On a terminal, what the agent asks meanwhile is asked there.

    Raises:
        CommandError: the thread broke, or the hub has gone.
    """
    broken: Thread | None = None
    progress = Progress(AsyncValue(after))
    async with trio.open_nursery() as nursery:

        async def look_out() -> None:
            nonlocal broken
            broken = await wait_broken(client, thread_id)
            # A turn that failed leaves the thread in error, too: what happened is printed first.
            last = broken.last_sequence
            await progress.seen.wait_value(lambda sequence: sequence >= last)
            nursery.cancel_scope.cancel(reason="the thread broke")

        nursery.start_soon(look_out)
        async with asking(client, thread_id, as_json=as_json):
            await print_events(
                client, thread_id, after, as_json=as_json, until_idle=True, progress=progress
            )
        nursery.cancel_scope.cancel(reason="the turn has ended")
    if progress.end is not None:  # also where the thread was seen to be broken at the same time
        return progress.end
    fault = broken.error if broken is not None else None
    message = fault.message if fault is not None else f"Thread {thread_id} broke"
    raise CommandError(Outcome.FAILED, message, code=fault.code if fault is not None else None)


async def open_questions(client: HubClient, thread_id: str | None) -> tuple[Interaction, ...]:
    """Return what agents are waiting to be told."""
    listed = await client.get(InteractionList, "/interactions", thread_id=thread_id, open=True)
    return listed.interactions
