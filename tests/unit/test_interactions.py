"""Questions of agents."""

from typing import Any, cast

import trio
from trio.testing import wait_all_tasks_blocked

from bbhost.contract.session import PendingInteraction
from bbhost.domain.ids import ThreadId
from bbhost.environment.threads.interactions import Interactions
from bbhost.environment.threads.ports import ServerPort


class Server:
    """Takes every question and never answers."""

    async def ask_person(self, _question: PendingInteraction) -> Any:
        await trio.sleep_forever()

    def take_back(self, *_args: object) -> None:
        return


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
