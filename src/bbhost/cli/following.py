"""Following an environment from one state to another, with what its provisioning says on the way."""

from collections.abc import Callable
from contextlib import aclosing

import trio

from bbhost.cli.client import HubClient, segment
from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.cli.sockets import messages, open_socket
from bbhost.contract.codec import parse_json, structure
from bbhost.domain.workspace import TranscriptEntry
from bbhost.hub.api.environments import (
    Environment,
    EnvironmentList,
    ServerState,
    TranscriptAnswer,
)

SETTLED = frozenset({ServerState.READY, ServerState.DESTROYED, ServerState.ERROR})
"""States in which nothing happens by itself."""
RECONNECTS = 20
"""How often a lost notification socket is opened again; then the command gives up."""
RECONNECT_PAUSE_SECONDS = 0.5

OnEntry = Callable[[TranscriptEntry], None]


def environment_path(environment_id: str, rest: str = "") -> str:
    """Return the path of an environment's resource."""
    return f"/environments/{segment(environment_id)}{rest}"


async def find_environment(client: HubClient, named: str) -> Environment:
    """Return the environment with this id, this name, or an id that begins with this.

    Raises:
        CommandError: there is none, or more than one.
    """
    listed = await client.get(EnvironmentList, "/environments", include_destroyed=True)
    everything = listed.environments
    living = [one for one in everything if one.state is not ServerState.DESTROYED]
    for matches in (
        [one for one in everything if one.id == named],
        [one for one in living if one.name == named],
        [one for one in living if one.id.startswith(named)],
        [one for one in everything if one.id.startswith(named)],
        [one for one in everything if one.name == named],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            ids = ", ".join(one.id for one in matches)
            raise CommandError(Outcome.REFUSED, f"{named!r} may be any of {ids}", code="ambiguous")
    raise CommandError(
        Outcome.NOT_FOUND, f"No environment {named!r} is known", code="environment_not_found"
    )


async def follow_until_settled(
    client: HubClient, environment_id: str, on_entry: OnEntry | None = None
) -> Environment:
    """Wait until nothing happens to an environment by itself; return it as it is then.

    Args:
        on_entry: gets each line of the provisioning transcript once, as it comes.

    Raises:
        CommandError: the hub has gone for longer than it may.
    """
    told: set[tuple[object, ...]] = set()

    def tell(entries: tuple[object, ...]) -> None:
        for raw in entries if on_entry is not None else ():
            entry = structure(TranscriptEntry, raw)
            mark = (entry.key, entry.type, entry.text, entry.started_at, entry.status)
            if mark not in told and on_entry is not None:
                told.add(mark)
                on_entry(entry)

    for attempt in range(RECONNECTS):
        if attempt:
            await trio.sleep(RECONNECT_PAUSE_SECONDS)
        try:
            settled = await _follow_once(client, environment_id, tell)
        except CommandError as error:
            if error.outcome is not Outcome.UNREACHABLE:
                raise
            continue
        if settled is not None:
            return settled
    raise CommandError(Outcome.UNREACHABLE, f"The hub at {client.server.url} has gone")


async def _follow_once(
    client: HubClient, environment_id: str, tell: Callable[[tuple[object, ...]], None]
) -> Environment | None:
    """Follow over one socket; None when it ended before the environment was settled."""
    # The socket first: nothing that happens after the questions is missed then.
    async with open_socket(client.server, "/ws") as socket, aclosing(messages(socket)) as received:
        async for text in received:
            message = parse_json(text)
            kind = message["type"]
            if kind == "hello":
                asked = await client.get(
                    TranscriptAnswer, environment_path(environment_id, "/transcript")
                )
                tell(asked.entries)
            elif kind == "provisioning" and message["environmentId"] == environment_id:
                tell(tuple(message["entries"]))
                continue
            elif kind != "environment-state" or message["environment"]["id"] != environment_id:
                continue
            found = await client.get(Environment, environment_path(environment_id))
            if found.state in SETTLED:
                asked = await client.get(
                    TranscriptAnswer, environment_path(environment_id, "/transcript")
                )
                tell(asked.entries)
                return found
    return None
