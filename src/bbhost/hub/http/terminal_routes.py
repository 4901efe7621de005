"""Public operations on terminals, and the socket of an attached one."""

import trio

from bbhost.contract.codec import decode_json
from bbhost.errors import BbhostError, WireError
from bbhost.hub.api.terminals import OpenTerminal, Terminal, TerminalList, ViewerRequest
from bbhost.hub.config import HubConfig
from bbhost.hub.http.asgi import Receive, Scope, Send, refuse
from bbhost.hub.http.environment_routes import ENVIRONMENT
from bbhost.hub.http.operations import ACCEPTED, CREATED, DAEMON_ERRORS, Call, Operation
from bbhost.hub.http.public_socket import public_subprotocol
from bbhost.hub.http.sockets import HangUp, accept_socket, run_socket
from bbhost.hub.services.outbox import CLOSE_POLICY
from bbhost.hub.services.terminals import Terminals

TERMINALS = "/api/v1/terminals"
TERMINAL = "/api/v1/terminals/{terminal_id}"
ATTACH = f"{TERMINAL}/attach"


def terminal_operations(terminals: Terminals) -> tuple[Operation, ...]:
    """Return the operations on terminals."""

    async def open_terminal(call: Call) -> object:
        return await terminals.open(call.path["environment_id"], call.body)

    async def list_of_environment(call: Call) -> object:
        await trio.lowlevel.checkpoint()
        return terminals.list(call.path["environment_id"])

    async def list_all(_call: Call) -> object:
        await trio.lowlevel.checkpoint()
        return terminals.list(None)

    async def get(call: Call) -> object:
        await trio.lowlevel.checkpoint()
        return terminals.get(call.path["terminal_id"])

    async def close(call: Call) -> object:
        await trio.lowlevel.checkpoint()
        return terminals.close(call.path["terminal_id"])

    return (
        Operation(
            "POST", f"{ENVIRONMENT}/terminals", "openTerminal", "Open a terminal",
            open_terminal, Terminal, status=CREATED, body=OpenTerminal, errors=DAEMON_ERRORS,
        ),
        Operation(
            "GET", f"{ENVIRONMENT}/terminals", "listEnvironmentTerminals",
            "List the terminals of an environment", list_of_environment, TerminalList,
        ),
        Operation("GET", TERMINALS, "listTerminals", "List terminals", list_all, TerminalList),
        Operation("GET", TERMINAL, "getTerminal", "Show a terminal", get, Terminal),
        Operation(
            "DELETE", TERMINAL, "closeTerminal", "End a terminal", close, Terminal,
            status=ACCEPTED,
        ),
    )  # fmt: skip


class TerminalSocket:
    """The ASGI application of an attached terminal."""

    def __init__(self, terminals: Terminals, config: HubConfig) -> None:
        self._terminals = terminals
        self._config = config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        terminal_id = scope["path_params"]["terminal_id"]
        try:
            self._terminals.get(terminal_id)
        except BbhostError as error:
            await refuse(scope, send, error)
            return
        with self._terminals.view(terminal_id) as view:
            if not await accept_socket(receive, send, public_subprotocol(scope)):
                return
            async with trio.open_nursery() as nursery:
                nursery.start_soon(view.keep_up)
                await run_socket(
                    receive,
                    send,
                    view.outbox,
                    encode=str,
                    handle=lambda text: self._take(terminal_id, text),
                    longest_message=self._config.limits.public_message_bytes,
                    config=self._config,
                )
                nursery.cancel_scope.cancel("the viewer has gone")

    def _take(self, terminal_id: str, text: str) -> None:
        try:
            request: ViewerRequest = decode_json(ViewerRequest, text)
        except WireError:
            raise HangUp(CLOSE_POLICY, "invalid-message") from None
        self._terminals.request(terminal_id, request)
