"""Questions of agents that wait for a person, and the answers that come as commands.

A server interrupts the questions of a session some seconds after that session has ended, and tells
nobody. So a question is registered again in every new session, and once more when that time is over:
the server answers with what has become of it, and an agent does not wait for what cannot come.
"""

from collections import OrderedDict
from logging import getLogger
from typing import TypeAlias

import trio
from attrs import define, field

from bbhost.contract.commands import InteractiveResolve
from bbhost.contract.interactions import Resolution
from bbhost.contract.session import (
    InteractionRegistered,
    InteractiveResponse,
    PendingInteraction,
)
from bbhost.domain.ids import ThreadId
from bbhost.environment.threads.ports import ServerPort
from bbhost.errors import BbhostError, InteractionMismatchError, StaleInteractionError

log = getLogger(__name__)

DELIVERED_SECONDS = 300.0
"""How long an answer that was delivered may come again and still be a success."""
DELIVERED_LIMIT = 10_000
"""Delivered answers remembered; the oldest is forgotten first."""

LOOK_AGAIN_SECONDS = 10.0
"""After the beginning of a session, the questions of the one before have been interrupted by now."""

_Key: TypeAlias = tuple[ThreadId, str, str, str]


@define(eq=False)
class _Waiting:
    interaction_id: str | None = None
    """The server's id, once it is known."""
    resolution: Resolution | None = None
    resolved: trio.Event = field(factory=trio.Event)


class Interactions:
    """All questions of a daemon."""

    def __init__(self, server: ServerPort) -> None:
        self._server = server
        self._waiting: dict[_Key, _Waiting] = {}
        self._delivered: OrderedDict[_Key, tuple[str, float]] = OrderedDict()

    @property
    def count(self) -> int:
        """Questions that wait."""
        return len(self._waiting)

    async def ask(self, question: PendingInteraction) -> Resolution | None:
        """Ask and wait, however long.

        Returns:
            None where there will be no answer: it could not be asked, or is over already.

        Cancellation: the question is taken back.
        """
        key = _key(question)
        # Before it is registered: the answer may be here before the server's answer to that.
        waiting = self._waiting[key] = _Waiting()
        ended = False
        try:
            answer = await self._wait_answer(question, waiting)
            ended = True
            return answer
        except BbhostError as error:
            ended = True
            log.warning("a question of %s could not be asked: %s", question.thread_id, error)
            self._take_back(question, "the question could not be registered")
            return None
        finally:
            if not ended and not waiting.resolved.is_set():
                self._take_back(question, "the turn ended while awaiting user interaction")
            # An agent that uses an id again has a later question under it.
            if self._waiting.get(key) is waiting:
                del self._waiting[key]

    async def _wait_answer(
        self, question: PendingInteraction, waiting: _Waiting
    ) -> Resolution | None:
        response: InteractiveResponse | None = await self._server.ask_person(question)
        look_again = False
        while not waiting.resolved.is_set():
            if response is not None:
                if not isinstance(response, InteractionRegistered) or not response.is_open:
                    return None
                waiting.interaction_id = response.interaction_id
            look_again = await self._wait_news(waiting, LOOK_AGAIN_SECONDS if look_again else None)
            if not waiting.resolved.is_set():
                response = await self._ask_again(question)
        return waiting.resolution

    async def _wait_news(self, waiting: _Waiting, seconds: float | None) -> bool:
        """Wait for the answer, for another session (True), or for a time."""
        is_new_session = False
        async with trio.open_nursery() as news:

            async def wait_session() -> None:
                nonlocal is_new_session
                await self._server.wait_new_session()
                is_new_session = True
                news.cancel_scope.cancel(reason="there is another session")

            news.start_soon(wait_session)
            with trio.move_on_after(float("inf") if seconds is None else seconds):
                await waiting.resolved.wait()
            news.cancel_scope.cancel(reason="there is an answer, or it is time to look")
        return is_new_session

    async def _ask_again(self, question: PendingInteraction) -> InteractiveResponse | None:
        """Hear what has become of a question; None where it cannot be heard now."""
        try:
            return await self._server.ask_person(question)
        except BbhostError as error:
            log.info("a question of %s is asked again later: %s", question.thread_id, error)
            return None

    def _take_back(self, question: PendingInteraction, reason: str) -> None:
        self._server.take_back(
            question.provider_id,
            question.thread_id,
            f'Provider "{question.provider_id}": {reason}',
        )

    def resolve(self, command: InteractiveResolve) -> None:
        """Deliver an answer.

        Raises:
            StaleInteractionError: nobody waits for it.
            InteractionMismatchError: the question is known under another id.
        """
        key = _key(command)
        waiting = self._waiting.get(key)
        if waiting is None:
            self._check_delivered(key, command.interaction_id)
            return
        if waiting.interaction_id not in {None, command.interaction_id}:
            raise InteractionMismatchError(
                f"The question is {waiting.interaction_id}, not {command.interaction_id}"
            )
        if waiting.resolved.is_set():
            return
        waiting.resolution = command.resolution
        waiting.resolved.set()
        self._delivered[key] = (command.interaction_id, trio.current_time())
        if len(self._delivered) > DELIVERED_LIMIT:
            self._delivered.popitem(last=False)

    def _check_delivered(self, key: _Key, interaction_id: str) -> None:
        known, at = self._delivered.get(key, ("", -DELIVERED_SECONDS))
        if not known or trio.current_time() - at > DELIVERED_SECONDS:
            raise StaleInteractionError("Nobody waits for this answer any more")
        if known != interaction_id:
            raise InteractionMismatchError(f"The question was {known}, not {interaction_id}")


def _key(one: PendingInteraction | InteractiveResolve) -> _Key:
    return (one.thread_id, one.provider_id, one.provider_thread_id, one.provider_request_id)
