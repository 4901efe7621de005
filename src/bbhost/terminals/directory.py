"""Finding a terminal of this host by its id: messages about one name nothing else."""

from collections.abc import Mapping

import trio

from bbhost.contract.messages import (
    TerminalAttach,
    TerminalClose,
    TerminalCloseReason,
    TerminalError,
    TerminalInput,
    TerminalOpen,
    TerminalResize,
)
from bbhost.domain.ids import TerminalId
from bbhost.lifecycle.terminal import TerminalState
from bbhost.terminals.sink import TerminalSink
from bbhost.terminals.terminal import Terminal
from bbhost.toolkit.value import AsyncValue

NOT_FOUND = "terminal_not_found"
EXISTS = "terminal_exists"
OPEN_FAILED = "terminal_open_failed"

REPLAYS_AT_ONCE = 2
"""Replays that are made at a time; each holds a whole scrollback. Further ones wait their turn."""


def terminal_error(message: TerminalOpen | TerminalAttach, code: str, text: str) -> TerminalError:
    """The answer to a request that failed; also for whoever could not get as far as a terminal."""
    return TerminalError(message.request_id, message.terminal_id, code, text or code)


class TerminalDirectory:
    """All terminals of this host. One per daemon."""

    def __init__(self, sink: TerminalSink) -> None:
        self.sink = sink
        self._terminals: dict[TerminalId, Terminal] = {}
        self._count = AsyncValue(0)
        self._replays = trio.CapacityLimiter(REPLAYS_AT_ONCE)

    def __contains__(self, terminal_id: object) -> bool:
        return terminal_id in self._terminals

    def __len__(self) -> int:
        return len(self._terminals)

    @property
    def terminals(self) -> Mapping[TerminalId, Terminal]:
        """The terminals that have not ended, those that are opening included."""
        return self._terminals

    def open_ids(self) -> tuple[TerminalId, ...]:
        """Ids of the terminals whose shells run and that nobody has asked to close."""
        return tuple(
            key for key, one in self._terminals.items() if one.state is TerminalState.OPEN
        )

    def add(self, terminal: Terminal) -> None:
        """Know a new terminal. For the registries of the environments."""
        assert terminal.terminal_id not in self._terminals
        self._terminals[terminal.terminal_id] = terminal
        self._count.value = len(self._terminals)

    def remove(self, terminal: Terminal) -> None:
        """Forget a terminal that has ended. For the registries of the environments."""
        del self._terminals[terminal.terminal_id]
        self._count.value = len(self._terminals)

    # --- messages of the server ---------------------------------------------------------------

    def input_nowait(self, message: TerminalInput) -> None:
        """``terminal.input``; ignored where the terminal is unknown."""
        terminal = self._terminals.get(message.terminal_id)
        if terminal is not None:
            terminal.input_nowait(message.data)

    def resize(self, message: TerminalResize) -> None:
        """``terminal.resize``; ignored where the terminal is unknown."""
        terminal = self._terminals.get(message.terminal_id)
        if terminal is not None:
            terminal.resize(message.cols, message.rows)

    def close(self, message: TerminalClose) -> None:
        """``terminal.close``; ignored where the terminal is unknown. Does not wait for the end."""
        terminal = self._terminals.get(message.terminal_id)
        if terminal is not None:
            terminal.close(message.reason)

    async def attach(self, message: TerminalAttach) -> None:
        """``terminal.attach``: answers with the replay, or that there is no such terminal.

        Cancellation: nothing was sent.
        """
        async with self._replays:
            terminal = self._terminals.get(message.terminal_id)
            if terminal is not None:
                await terminal.replay(message.request_id, message.since_seq)
                return
        text = f"Terminal {message.terminal_id} is not open"
        await self.sink.send(terminal_error(message, NOT_FOUND, text))

    # --- the end ------------------------------------------------------------------------------

    async def close_all(self, reason: TerminalCloseReason) -> None:
        """Close every terminal and wait until all have ended (bounded, see ``terminal.py``)."""
        for terminal in self._terminals.values():
            terminal.close(reason)
        await self._count.wait_value(lambda count: count == 0)
