"""What the journal knows of turns because of the events that went through it. Pure.

A fact is stored in the same transaction as the event it follows from. Whatever is killed when, the
facts are therefore true of what the server has been, or will be, told:
``open_key``: the turn has begun and not ended. ``told_key``: the request became part of a turn.
"""

from typing import TypeAlias

from bbhost.contract import events as e
from bbhost.contract.codec import dump_json, parse_json
from bbhost.domain.ids import ThreadId

OPEN_TURNS = "turns/open/"
TOLD_REQUESTS = "turns/told/"

Fact: TypeAlias = tuple[str, str | None]
"""A key and its value; None forgets it."""


def open_key(thread_id: ThreadId, turn_id: str) -> str:
    """Key of a turn that has begun; the value is the provider's id of the thread."""
    return OPEN_TURNS + dump_json([thread_id, turn_id])


def told_key(thread_id: ThreadId, request_id: str) -> str:
    """Key of a request that is part of a turn; the value is the id of that turn."""
    return TOLD_REQUESTS + dump_json([thread_id, request_id])


def names_of(key: str, prefix: str) -> tuple[ThreadId, str]:
    """The thread and the turn or request that a key is about."""
    thread_id, name = parse_json(key.removeprefix(prefix))
    return ThreadId(thread_id), name


def facts_of(event: e.ThreadEvent) -> tuple[Fact, ...]:
    """What is true as soon as ``event`` is in the spool."""
    match event:
        case e.TurnStarted():
            return ((open_key(event.thread_id, event.scope.turn_id), event.provider_thread_id),)
        case e.TurnCompleted():
            return ((open_key(event.thread_id, event.scope.turn_id), None),)
        case e.TurnInputAccepted():
            return ((told_key(event.thread_id, event.client_request_id), event.scope.turn_id),)
        case _:
            return ()
