"""Questions of agents."""

from typing import Any, cast

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from bbhost.contract.commands import InteractiveResolve
from bbhost.contract.interactions import Denied
from bbhost.contract.session import (
    InteractionRegistered,
    InteractionStatus,
    PendingInteraction,
)
from bbhost.domain.ids import EnvironmentId, ThreadId
from bbhost.environment.threads.interactions import LOOK_AGAIN_SECONDS, Interactions
from bbhost.environment.threads.ports import ServerPort
from bbhost.errors import BbhostError
from bbhost.toolkit.value import AsyncValue


class Server:
    """Takes every question and never answers."""

    async def ask_person(self, _question: PendingInteraction) -> Any:
        await trio.sleep_forever()

    async def wait_new_session(self) -> None:
        await trio.sleep_forever()

    def take_back(self, *_args: object) -> None:
        return


class RestlessServer:
    """Can be lost and found again, and says of a question what it is told to say."""

    def __init__(self) -> None:
        self.asked = 0
        self.status: InteractionStatus | None = InteractionStatus.PENDING
        self.taken_back = 0
        self._session = AsyncValue(1)

    def reconnect(self) -> None:
        self._session.value += 1

    async def ask_person(self, _question: PendingInteraction) -> Any:
        await trio.lowlevel.checkpoint()
        self.asked += 1
        if self.status is None:
            raise BbhostError("not now")
        return InteractionRegistered("existing", "pint_1", self.status)

    async def wait_new_session(self) -> None:
        now = self._session.value
        await self._session.wait_value(lambda session: session != now)

    def take_back(self, *_args: object) -> None:
        self.taken_back += 1


QUESTION = PendingInteraction(
    ThreadId("thr_1"), "turn_1", "codex", "p_1", "request_1", cast("Any", None)
)
ANSWER = InteractiveResolve(
    EnvironmentId("env_1"),
    ThreadId("thr_1"),
    "pint_1",
    "codex",
    "p_1",
    "request_1",
    Denied(),
)


async def ask(interactions: Interactions, answers: list[object]) -> None:
    answers.append(await interactions.ask(QUESTION))


async def test_a_question_is_asked_again_in_each_new_session(autojump_clock: MockClock) -> None:
    """At once, and when the server has had time to interrupt it; the answer is welcome all the same."""
    server, answers = RestlessServer(), []
    interactions = Interactions(cast("ServerPort", server))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, interactions, answers)
        await trio.sleep(100)
        assert server.asked == 1
        server.reconnect()
        await trio.sleep(LOOK_AGAIN_SECONDS / 2)
        assert server.asked == 2
        await trio.sleep(100)
        assert server.asked == 3
        server.status = None  # cannot be heard: that is no answer
        server.reconnect()
        await trio.sleep(100)
        assert (server.asked, answers) == (5, [])
        interactions.resolve(ANSWER)
    assert answers == [Denied()]
    assert server.taken_back == 0


async def test_a_question_that_the_server_has_interrupted_ends(autojump_clock: MockClock) -> None:
    """Nobody is told of it; who asks again hears it."""
    server, answers = RestlessServer(), []
    interactions = Interactions(cast("ServerPort", server))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, interactions, answers)
        await wait_all_tasks_blocked()
        server.reconnect()
        await wait_all_tasks_blocked()
        server.status = InteractionStatus.INTERRUPTED
    assert answers == [None]
    assert (server.asked, interactions.count) == (3, 0)


async def test_a_question_that_is_asked_twice_ends_twice() -> None:
    """An agent may use the id of a request again before it was answered; it hurts nobody else."""
    interactions = Interactions(cast("ServerPort", Server()))
    question = PendingInteraction(
        ThreadId("thr_1"), "turn_1", "codex", "p_1", "request_1", cast("Any", None)
    )
    first = trio.CancelScope()

    async def ask_first() -> None:
        with first:
            await interactions.ask(question)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_first)
        await wait_all_tasks_blocked()
        nursery.start_soon(interactions.ask, question)
        await wait_all_tasks_blocked()
        first.cancel()
        await wait_all_tasks_blocked()
        assert interactions.count == 1, "the later one still waits"
        nursery.cancel_scope.cancel()
    assert interactions.count == 0
