"""Questions of agents, answered at the prompt while their thread is followed on a terminal."""

import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import trio

from bbhost.cli.client import HubClient, segment
from bbhost.cli.outcomes import CommandError
from bbhost.cli.printing import clean, note
from bbhost.cli.questions import choose_resolution, describe, wants_decision
from bbhost.cli.sockets import messages, open_socket
from bbhost.contract.codec import parse_json
from bbhost.hub.api.threads import Interaction, InteractionList, ResolveInteraction

RECONNECT_PAUSE_SECONDS = 0.5
DECISIONS = {"y": "once", "s": "for the session", "n": "no"}
_CHANGED = frozenset({"hello", "interaction"})


def can_ask(*, as_json: bool) -> bool:
    """Whether somebody sits at a terminal who could answer."""
    return not as_json and sys.stdin.isatty() and sys.stderr.isatty()


@asynccontextmanager
async def asking(client: HubClient, thread_id: str, *, as_json: bool) -> AsyncIterator[None]:
    """Put the questions of a thread to the person at the terminal while the block runs.

    Nothing is asked where nobody could answer; the questions stay open for ``thread approve``.
    """
    if not can_ask(as_json=as_json):
        yield
        return
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_ask_for_ever, client, thread_id)
        yield
        nursery.cancel_scope.cancel(reason="the thread is not followed any more")


async def _ask_for_ever(client: HubClient, thread_id: str) -> None:
    asked: set[str] = set()
    while True:
        async with open_socket(client.server, "/ws") as socket, aclosing(messages(socket)) as told:
            async for text in told:
                if parse_json(text)["type"] in _CHANGED:
                    await _ask_new(client, thread_id, asked)
        await trio.sleep(RECONNECT_PAUSE_SECONDS)


async def _ask_new(client: HubClient, thread_id: str, asked: set[str]) -> None:
    path = "/interactions"
    listed = await client.get(InteractionList, path, thread_id=thread_id, open=True)
    for one in listed.interactions:
        if one.id not in asked:
            asked.add(one.id)
            await _ask(client, one)


async def _ask(client: HubClient, question: Interaction) -> None:
    """Ask until it is answered or left open with an empty line."""
    choices = "".join(f", {key} = {what}" for key, what in DECISIONS.items())
    hint = choices if wants_decision(question) else ""
    while True:
        note(f"? {clean(describe(question))} [Enter = leave open{hint}]")
        line = await read_line()
        if not line:
            note(f"(open: {clean(question.id)}; 'bbhost thread approve' answers it)")
            return
        if wants_decision(question) and line not in DECISIONS:
            continue
        try:
            await _answer(client, question, line)
        except CommandError as error:
            note(f"! {clean(error.message)}")
            if error.code != "refused":
                return  # the hub has said so; it is not open any more
        else:
            return


async def _answer(client: HubClient, question: Interaction, line: str) -> None:
    is_decision = wants_decision(question)
    resolution = choose_resolution(
        question,
        deny=is_decision and line == "n",
        for_session=is_decision and line == "s",
        answer=None if is_decision else line,
    )
    path = f"/interactions/{segment(question.id)}/resolve"
    await client.post(Interaction, path, ResolveInteraction(resolution))


async def read_line() -> str:
    """A line of the terminal, which hands over whole lines; empty at its end."""
    await trio.lowlevel.wait_readable(sys.stdin.fileno())
    return sys.stdin.readline().strip()
