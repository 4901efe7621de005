"""Requests that an agent was given: known for good, so that none of them is carried out twice.

A request is noted before its agent hears of it. Whether the agent got it, took it and how far it came
cannot be known after a crash, so a noted request is never given to an agent again: whoever asks is
told what was noted, and its turn is told to have been interrupted (``open``). A request that is not
noted was not begun and is carried out as if new.
"""

from collections import OrderedDict
from logging import getLogger

from attrs import frozen

from bbhost.contract.codec import dump_json, parse_json, unstructure
from bbhost.contract.events import ThreadEvent
from bbhost.contract.ids import new_producer_event_id
from bbhost.domain.ids import ThreadId
from bbhost.environment.threads import telling
from bbhost.environment.threads.mail import Submitted
from bbhost.environment.threads.ports import TurnJournal
from bbhost.journal.turns import OPEN_TURNS, TOLD_REQUESTS, facts_of, names_of, told_key
from bbhost.journal.values import SpooledEvent

log = getLogger(__name__)

GIVEN_REQUESTS = "turns/given/"
REQUESTS_REMEMBERED = 512
"""Requests that are known; the oldest is forgotten first. More than a daemon runs at a time, and more
than a server delivers again."""
RESTARTED = "The host daemon was restarted in the middle of the turn"

_Key = tuple[ThreadId, str]


@frozen
class _Given:
    number: int
    """Grows with every request."""
    submitted: Submitted


class RequestLedger:
    """The requests of all threads, by thread and request."""

    def __init__(self, journal: TurnJournal) -> None:
        self._journal = journal
        self._given: OrderedDict[_Key, _Given] = OrderedDict()
        self._last = 0

    async def open(self) -> None:
        """Read what an earlier daemon noted, and tell the end of what it left behind.

        Nothing of its agents runs any more. The events go into the spool at once with the facts
        that make them unnecessary the next time.

        Raises:
            JournalError: the journal cannot be used.
        """
        noted = [
            (names_of(key, GIVEN_REQUESTS), _decode(text))
            for key, text in (await self._journal.facts(GIVEN_REQUESTS)).items()
        ]
        noted.sort(key=lambda one: one[1].number)
        self._given = OrderedDict(noted)
        self._last = max((given.number for given in self._given.values()), default=0)
        events = await self._told_late()
        if events:
            log.warning("telling that turns of an earlier daemon were interrupted")
            await self._journal.append_events([_spooled(event) for event in events])

    async def _told_late(self) -> list[ThreadEvent]:
        """The end of every turn that had begun, and what became of requests nobody has heard of."""
        told = {
            names_of(key, TOLD_REQUESTS): turn_id
            for key, turn_id in (await self._journal.facts(TOLD_REQUESTS)).items()
        }
        for thread_id, request_id in told.keys() - self._given.keys():
            await self._journal.set_fact(told_key(thread_id, request_id), None)
        unheard = [key for key in self._given if key not in told]
        begun_by = {(thread_id, turn_id) for (thread_id, _), turn_id in told.items()}
        events: list[ThreadEvent] = []
        for key, provider_id in (await self._journal.facts(OPEN_TURNS)).items():
            thread_id, turn_id = names_of(key, OPEN_TURNS)
            if (thread_id, turn_id) not in begun_by:
                # The kill came between the beginning of a turn and the word which request began it.
                mine = next((one for one in unheard if one[0] == thread_id), None)
                if mine is not None:
                    unheard.remove(mine)
                    events.append(telling.accepted(thread_id, provider_id, turn_id, mine[1]))
            events.append(
                telling.completed(thread_id, provider_id, turn_id, "interrupted", RESTARTED)
            )
        for thread_id, request_id in unheard:
            provider_id = self._given[thread_id, request_id].submitted.provider_thread_id
            events += telling.unbegun(thread_id, provider_id, request_id, RESTARTED)
            # It got a turn of its own here, whatever was meant to become of it.
            await self.note(thread_id, request_id, Submitted(provider_id, False))
        return events

    def find(self, thread_id: ThreadId, request_id: str) -> Submitted | None:
        """What became of a request; None where it was not begun."""
        given = self._given.get((thread_id, request_id))
        return None if given is None else given.submitted

    async def note(self, thread_id: ThreadId, request_id: str, submitted: Submitted) -> None:
        """An agent is about to be given a request. Durable on return.

        Raises:
            JournalError: it could not be noted; the agent must not get it.
        """
        known = self.find(thread_id, request_id)
        if known == submitted:
            return
        self._last += 1
        given = _Given(self._last, submitted)
        await self._journal.set_fact(_key(thread_id, request_id), _encode(given))
        self._given[thread_id, request_id] = given
        while len(self._given) > REQUESTS_REMEMBERED:
            await self.forget(*next(iter(self._given)))

    async def forget(self, thread_id: ThreadId, request_id: str) -> None:
        """A request was refused after all, or is too old to come again.

        Raises:
            JournalError: it is still known after a restart.
        """
        if self._given.pop((thread_id, request_id), None) is not None:
            await self._journal.set_fact(_key(thread_id, request_id), None)
            await self._journal.set_fact(told_key(thread_id, request_id), None)


def _key(thread_id: ThreadId, request_id: str) -> str:
    return GIVEN_REQUESTS + dump_json([thread_id, request_id])


def _encode(given: _Given) -> str:
    submitted = given.submitted
    return dump_json([given.number, submitted.provider_thread_id, submitted.is_steer])


def _decode(text: str) -> _Given:
    number, provider_thread_id, is_steer = parse_json(text)
    return _Given(number, Submitted(provider_thread_id, is_steer))


def _spooled(event: ThreadEvent) -> SpooledEvent:
    text = dump_json(unstructure(event))
    return SpooledEvent(new_producer_event_id(), event.thread_id, text, facts_of(event))
