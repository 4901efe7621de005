"""``bbhost env watch``: changes, line by line, over as many sockets as it takes."""

import time
from contextlib import aclosing

import trio

from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.cli.place import Server
from bbhost.cli.printing import clean, note, say, say_json
from bbhost.cli.sockets import messages, open_socket
from bbhost.contract.codec import parse_json
from bbhost.contract.wire_types import Json

RECONNECT_PAUSE_SECONDS = 1.0
RECONNECTS = 60
"""Attempts in a row that may fail before it gives up."""


async def watch_changes(
    server: Server, only: str | None, count: int | None, *, as_json: bool
) -> None:
    """Print changes until ``count`` were printed, or until interrupted.

    Raises:
        CommandError: the hub cannot be reached at first, or has gone for too long.
    """
    left, failures, first = count, 0, True
    while left is None or left > 0:
        try:
            async with (
                open_socket(server, "/ws") as socket,
                aclosing(messages(socket)) as received,
            ):
                if not first:
                    note("(connected again; changes in between are not shown)")
                first, failures = False, 0
                async for text in received:
                    if not _print(parse_json(text), only, as_json):
                        continue
                    if left is not None:
                        left -= 1
                        if left <= 0:
                            return
        except CommandError:
            if first or failures >= RECONNECTS:
                raise
            failures += 1
        if failures == 0:
            note("(the hub has gone; waiting for it)")
        await trio.sleep(RECONNECT_PAUSE_SECONDS)
    raise CommandError(Outcome.FAILED, "--count must be at least 1")


def _print(message: Json, only: str | None, as_json: bool) -> bool:
    """Print a notification if it is one to print."""
    kind = message["type"]
    environment = message.get("environment") or {}
    about = environment.get("id") or message.get("environmentId")
    if kind == "hello" or (only is not None and about != only):
        return False
    if as_json:
        say_json(message)
        return True
    parts = (time.strftime("%H:%M:%S"), about, _describe(kind, message))
    say(clean("  ".join(part for part in parts if part)))
    return True


def _describe(kind: str, message: Json) -> str:
    match kind:
        case "environment-change":
            return str(message["change"])
        case "environment-state":
            environment = message["environment"]
            error = environment.get("error")
            return f"{environment['state']}" + (f": {error['message']}" if error else "")
        case "provisioning":
            last = message["entries"][-1] if message["entries"] else {}
            return f"provisioning: {last.get('text', '')}"
        case "host":
            return f"host {message['hostId']} {message['status']}"
        case "terminal":
            terminal = message["terminal"]
            return f"terminal {terminal['id']} {terminal['state']}"
        case "thread":
            thread = message["thread"]
            return f"thread {thread['id']} {thread['state']}"
        case "thread-events":
            return f"thread {message['threadId']} event {message['sequence']}"
        case "interaction":
            interaction = message["interaction"]
            return f"question {interaction['id']} {interaction['status']}"
    return kind
