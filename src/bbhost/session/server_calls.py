"""What agents and apps ask of the server beside events: tools, people, attachments, app data.

Every call goes to the session that is open at that moment, and fails where none is. What the server
understands only after the events that led to it is preceded by them.
"""

from collections.abc import Awaitable, Callable
from logging import getLogger

import trio
from attrs import frozen

from bbhost.contract.session import (
    AppDataChange,
    AppDataResync,
    InteractiveInterrupt,
    InteractiveRequest,
    InteractiveResponse,
    PendingInteraction,
    ToolCallRequest,
    ToolCallResponse,
)
from bbhost.domain.ids import SessionId, ThreadId
from bbhost.errors import WireError
from bbhost.session.client import Attachment, ServerClient
from bbhost.session.current import CurrentSession
from bbhost.session.errors import (
    EventsNotDeliveredError,
    NoSessionError,
    ServerAnswerError,
    ServerRefusedError,
    ServerUnreachableError,
)
from bbhost.session.events import EventReporter
from bbhost.toolkit.backoff import backoff_delays
from bbhost.toolkit.tick import Tick

log = getLogger(__name__)

CALLS_AT_A_TIME = 8
"""Tool calls and attachments under way; further ones wait, so that they cannot take all connections
from commands and results."""
REGISTER_ATTEMPTS = 6
REGISTER_FIRST_SECONDS, REGISTER_LONGEST_SECONDS = 0.1, 2.0
INTERRUPT_SECONDS = 1.0
"""Between attempts to take questions back."""
INTERRUPTS_LIMIT = 1000
"""Interrupts that wait for a session; at the bound the oldest is dropped with a log line."""


@frozen
class ToolCall:
    """An agent calls a tool of the server."""

    thread_id: ThreadId
    provider_thread_id: str
    turn_id: str
    call_id: str
    tool: str
    arguments: object = None


@frozen
class Interrupt:
    """The agent that asked in these threads is gone."""

    provider_id: str
    thread_ids: tuple[ThreadId, ...]
    reason: str


@frozen
class AppFile:
    """What a data file of an app holds now."""

    thread_id: ThreadId
    app_id: str
    path: str
    value: object = None
    version: str | None = None
    """SHA-256 of its bytes in hex; None: it is gone."""


class ServerCalls:
    """Requests on behalf of agents and apps."""

    def __init__(
        self, client: ServerClient, current: CurrentSession, events: EventReporter
    ) -> None:
        self._client = client
        self._current = current
        self._events = events
        self._interrupts: list[Interrupt] = []
        self._tick = Tick()
        self._places = trio.CapacityLimiter(CALLS_AT_A_TIME)

    async def call_tool(self, call: ToolCall) -> ToolCallResponse:
        """Call a tool, after the events so far.

        Raises:
            EventsNotDeliveredError, NoSessionError: it was not called.
            ServerRefusedError, ServerUnreachableError, ServerAnswerError: the call failed.
        """
        await self._events.flush_required(call.thread_id)

        async def send(session: SessionId) -> ToolCallResponse:
            return await self._client.call_tool(
                ToolCallRequest(
                    session,
                    call.thread_id,
                    call.provider_thread_id,
                    call.turn_id,
                    call.call_id,
                    call.tool,
                    call.arguments,
                )
            )

        async with self._places:
            return await self._current.request(send)

    async def ask_person(self, interaction: PendingInteraction) -> InteractiveResponse:
        """Register a question, after the events so far; several attempts.

        The answer comes as an ``interactive.resolve`` command, and only where the response is an
        open InteractionRegistered.

        Raises:
            EventsNotDeliveredError, NoSessionError, ServerRefusedError, ServerUnreachableError,
            ServerAnswerError: of the last attempt.
        """
        delays = backoff_delays(REGISTER_FIRST_SECONDS, REGISTER_LONGEST_SECONDS)
        for attempt in range(1, REGISTER_ATTEMPTS + 1):
            try:
                await self._events.flush_required(interaction.thread_id)
                return await self._current.request(
                    lambda session: self._client.register_interaction(
                        InteractiveRequest(session, interaction)
                    )
                )
            except ServerRefusedError as error:
                if not error.retryable and not error.session_is_gone:
                    raise
                last: Exception = error
            except (
                NoSessionError,
                EventsNotDeliveredError,
                ServerUnreachableError,
                ServerAnswerError,
            ) as error:
                last = error
            if attempt == REGISTER_ATTEMPTS:
                raise last
            await trio.sleep(next(delays))
        raise AssertionError("the last attempt returns or raises")

    def interrupt(self, interrupt: Interrupt) -> None:
        """Take questions back as soon as possible; tried until the server has answered."""
        if len(self._interrupts) >= INTERRUPTS_LIMIT:
            log.warning("too many interrupts wait, dropped %s", self._interrupts.pop(0))
        self._interrupts.append(interrupt)
        self._tick.set()

    async def read_attachment(self, thread_id: ThreadId, project_id: str, path: str) -> Attachment:
        """Read a file that a person attached to a message.

        Raises:
            BbhostError: code ``attachment_unavailable``: others could read it on the way.
            NoSessionError, ServerRefusedError, ServerUnreachableError, ServerAnswerError.
        """
        async with self._places:
            return await self._current.request(
                lambda session: self._client.read_attachment(session, thread_id, project_id, path)
            )

    async def post_app_file(self, file: AppFile) -> bool:
        """Tell what a data file of an app holds; False where the server did not take it.

        It is not repeated: at the next session everything is posted anew.
        """

        async def post(session: SessionId) -> None:
            gone = file.version is None
            await self._client.post_app_data_change(
                AppDataChange(
                    session,
                    file.thread_id,
                    file.app_id,
                    file.path,
                    None if gone else file.value,
                    gone,
                    file.version,
                )
            )

        return await self._post_app_data(post, f"{file.app_id}/{file.path} of {file.thread_id}")

    async def post_app_resync(self, thread_id: ThreadId, app_id: str) -> bool:
        """Have all files of an app read again; False where the server did not take it."""

        async def post(session: SessionId) -> None:
            await self._client.post_app_data_resync(AppDataResync(session, thread_id, app_id))

        return await self._post_app_data(post, f"{app_id} of {thread_id}")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send interrupts for ever. Cancellation: those that wait are dropped; the server
        interrupts the questions of a daemon that stops by itself."""
        task_status.started()
        while True:
            while not self._interrupts:
                await self._tick.wait()
            await self._current.wait_ready()
            if not await self._send_interrupt(self._interrupts[0]):
                await trio.sleep(INTERRUPT_SECONDS)

    async def _send_interrupt(self, interrupt: Interrupt) -> bool:
        try:
            await self._current.request(
                lambda session: self._client.interrupt_interactions(
                    InteractiveInterrupt(
                        session, interrupt.provider_id, interrupt.thread_ids, interrupt.reason
                    )
                )
            )
        except ServerRefusedError as error:
            if error.retryable or error.status == 401:
                return False
            log.warning("questions could not be taken back: %s", error)
        except (NoSessionError, ServerUnreachableError, ServerAnswerError):
            return False
        # Others may have been dropped from the front meanwhile.
        if interrupt in self._interrupts:
            self._interrupts.remove(interrupt)
        return True

    async def _post_app_data(
        self, post: Callable[[SessionId], Awaitable[None]], what: str
    ) -> bool:
        try:
            await self._current.request(post)
        except (
            NoSessionError,
            ServerRefusedError,
            ServerUnreachableError,
            ServerAnswerError,
            WireError,  # nested too deeply
        ) as error:
            log.info("app data %s was not taken: %s", what, error)
            return False
        return True
