"""What the session asks of the daemon and tells it."""

from typing import Protocol

from attrs import frozen

from bbhost.contract.messages import (
    TerminalAttach,
    TerminalClose,
    TerminalInput,
    TerminalOpen,
    TerminalResize,
)
from bbhost.contract.session import SessionOpenResponse
from bbhost.domain.ids import EnvironmentId, TerminalId, ThreadId

TerminalMessage = TerminalOpen | TerminalAttach | TerminalInput | TerminalResize | TerminalClose


@frozen
class SessionDescription:
    """What the server is told when a session is opened."""

    active_threads: tuple[ThreadId, ...] = ()
    """Threads in the middle of a turn in this process. One that is missing is interrupted by the
    server; after a restart there are none."""
    loaded_environments: tuple[EnvironmentId, ...] = ()
    open_terminals: tuple[TerminalId, ...] = ()


class SessionHooks(Protocol):
    """The daemon, as the session sees it."""

    def describe(self) -> SessionDescription:
        """What to tell the server now. Returns at once."""
        ...

    async def session_opened(self, response: SessionOpenResponse) -> None:
        """Take in what the server said; commands and events flow when this has returned.

        Cancelled when the session is lost meanwhile; the next one brings newer news.
        """

    def handle_terminal_message(self, message: TerminalMessage) -> None:
        """Take a message about a terminal, in order. Must return at once: while it does not,
        nothing is read from the server."""

    async def server_forgot(self, environment_id: EnvironmentId) -> None:
        """The server does not know this environment (any more); release it."""
