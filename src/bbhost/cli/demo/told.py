"""What the hub's notification socket has told, kept so that waiting never misses anything."""

from collections.abc import Callable
from contextlib import aclosing

import trio
from attrs import define, field

from bbhost.cli.place import Server
from bbhost.cli.sockets import messages, open_socket
from bbhost.contract.codec import parse_json
from bbhost.contract.wire_types import Json


@define(eq=False)
class Told:
    """All notifications so far."""

    messages: list[Json] = field(factory=list)
    _news: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    async def run(
        self, server: Server, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen until the socket ends or we are cancelled; started once the hub has said hello."""
        async with open_socket(server, "/ws") as socket, aclosing(messages(socket)) as received:
            async for text in received:
                message = parse_json(text)
                if message["type"] == "hello":
                    task_status.started()
                self.messages.append(message)
                self._news.unpark_all()

    async def wait(self, wanted: Callable[[Json], bool], since: int = 0) -> Json:
        """Wait for a notification after the first ``since``, and return it."""
        at = since
        while True:
            while at < len(self.messages):
                message = self.messages[at]
                if wanted(message):
                    return message
                at += 1
            await self._news.park()

    def change_of(self, environment_id: str) -> Callable[[Json], bool]:
        """Return a test for "something changed in this workspace"."""
        return lambda message: (
            message["type"] == "environment-change"
            and message["environmentId"] == environment_id
            and message["change"] == "work-status-changed"
        )
