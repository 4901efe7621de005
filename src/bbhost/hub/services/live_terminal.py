"""A terminal that has not ended: what is shown of it, who watches, and whose daemon has it."""

import trio
from attrs import Factory, define

from bbhost.contract.messages import ServerMessage, TerminalClose, TerminalCloseReason
from bbhost.domain.ids import TerminalId
from bbhost.hub.api.terminals import Terminal
from bbhost.hub.errors import ApiError
from bbhost.hub.services.core import DaemonSession
from bbhost.hub.services.terminal_views import TerminalView


@define(eq=False)
class LiveTerminal:
    """One terminal between its request and its end."""

    shown: Terminal
    session: DaemonSession
    opened: trio.Event = Factory(trio.Event)
    refusal: ApiError | None = None
    viewers: dict[str, TerminalView] = Factory(dict)
    """By the request id of their replays."""
    waits_until: float | None = None
    """Trio's clock, where its session is over: the daemon may come back with it until then."""

    @property
    def id(self) -> TerminalId:
        """Its id."""
        return TerminalId(self.shown.id)

    def send(self, message: ServerMessage) -> None:
        """Send to its daemon; nothing where that is not connected."""
        if self.waits_until is None and self.session.socket is not None:
            self.session.socket.put(message)

    def ask_to_close(self, reason: TerminalCloseReason) -> None:
        """Have its daemon end it."""
        self.send(TerminalClose(self.id, reason))
