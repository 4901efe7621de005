"""Where messages of terminals go."""

from typing import Protocol

from bbhost.contract.messages import DaemonMessage


class TerminalSink(Protocol):
    """The way to the server, shared by all terminals."""

    async def send(self, message: DaemonMessage) -> bool:
        """Hand over one message.

        Waits while the way is full. That is the flow control of terminals: one that waits here
        reads nothing from its pty, so the program in it stops until there is room.

        Returns:
            False where there is no link; the message is then lost.

        Cancellation: safe; the message was handed over whole or not at all.
        """
        ...
