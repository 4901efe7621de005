"""Terminals: between viewers, who come and go, and the daemon's socket, which carries them all.

Terminals live in memory; what they print is remembered by the daemon, never here. A viewer first gets
the daemon's replay and from then on every chunk it can take (``terminal_views``); what comes before
its replay is part of the replay.

A terminal belongs to a session. When that ends, the terminals of a daemon that says which ones it has
(``openTerminals``) wait for its next session, where those it still has go on and the others end; those
of a daemon that does not say end at once.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import trio
from attrs import evolve

from bbhost.contract.ids import new_id
from bbhost.contract.messages import (
    DaemonMessage,
    TerminalAttach,
    TerminalClose,
    TerminalCloseReason,
    TerminalError,
    TerminalExited,
    TerminalInput,
    TerminalOpen,
    TerminalOpened,
    TerminalOutput,
    TerminalReplay,
    TerminalResize,
)
from bbhost.contract.session import SessionOpenRequest
from bbhost.domain.ids import EnvironmentId, TerminalId, ThreadId
from bbhost.hub.api.notifications import TerminalChanged
from bbhost.hub.api.terminals import (
    ExitedMessage,
    OpenTerminal,
    Terminal,
    TerminalList,
    ViewerClose,
    ViewerInput,
    ViewerRequest,
    ViewerResize,
)
from bbhost.hub.clock import now_ms
from bbhost.hub.errors import ApiError, host_disconnected, not_found
from bbhost.hub.services.core import Core, DaemonSession
from bbhost.hub.services.environments import context_of, require_environment
from bbhost.hub.services.live_terminal import LiveTerminal
from bbhost.hub.services.outbox import Outbox
from bbhost.hub.services.terminal_views import TerminalView, output_text

DEFAULT_COLS = 80
DEFAULT_ROWS = 24
NOT_FOUND = "terminal_not_found"
"""The daemon's error for a terminal that it does not have."""
_NO_OUTPUT = 2**53 - 1
"""A number that no chunk reaches: asks whether a terminal is there, and for none of its output."""


class Terminals:
    """All terminals of a hub."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._live: dict[str, LiveTerminal] = {}
        # Oldest first; at the bound the oldest is forgotten.
        self._exited: deque[Terminal] = deque(maxlen=core.config.limits.exited_terminals)
        self._orphans: dict[str, list[TerminalId]] = {}
        """By host: terminals nobody here knows (any more), to be closed when its daemon is back."""

    # --- the public's side ------------------------------------------------------------------

    async def open(self, environment_id: str, request: OpenTerminal) -> Terminal:
        """Open a terminal and wait for it.

        Raises:
            ApiError: 503 no daemon or too many terminals, 504 it did not open in time, 502 the
                daemon refused.

        Cancellation: the terminal is closed.
        """
        row = await self._core.read(lambda db: require_environment(db, environment_id))
        session = self._core.sessions.of_host(row.host_id)
        if session is None or session.socket is None:
            raise host_disconnected(row.host_id)
        if len(self._live) >= self._core.config.limits.terminals:
            raise ApiError(503, "hub_busy", "Too many terminals are open", retryable=True)
        terminal_id = TerminalId(new_id("term"))
        shown = Terminal(
            id=terminal_id,
            environment_id=row.id,
            host_id=row.host_id,
            state="opening",
            title=None,
            shell=None,
            initial_cwd=None,
            cols=request.cols or DEFAULT_COLS,
            rows=request.rows or DEFAULT_ROWS,
            exit_code=None,
            close_reason=None,
            created_at=now_ms(),
        )
        live = self._live[terminal_id] = LiveTerminal(shown, session)
        message = TerminalOpen(
            request_id=new_id("treq"),
            terminal_id=terminal_id,
            thread_id=ThreadId(request.thread_id or row.progress_thread_id),
            environment_id=EnvironmentId(row.id),
            workspace_context=context_of(row),
            cols=request.cols or DEFAULT_COLS,
            rows=request.rows or DEFAULT_ROWS,
        )
        live.send(message)
        return await self._wait_opened(live)

    async def _wait_opened(self, live: LiveTerminal) -> Terminal:
        try:
            with trio.move_on_after(self._core.config.timings.terminal_open_seconds):
                await live.opened.wait()
        finally:
            if not live.opened.is_set():
                live.ask_to_close(TerminalCloseReason.OPEN_TIMEOUT)
                self._exit(live, None, TerminalCloseReason.OPEN_TIMEOUT)
        if live.refusal is not None:
            raise live.refusal
        if live.shown.state != "open":
            raise ApiError(
                504, "terminal_open_timeout", "The terminal did not open in time", retryable=True
            )
        return live.shown

    def list(self, environment_id: str | None) -> TerminalList:
        """Return terminals, oldest first."""
        every = [*self._exited, *(live.shown for live in self._live.values())]
        chosen = (one for one in every if environment_id in {None, one.environment_id})
        return TerminalList(tuple(sorted(chosen, key=lambda one: (one.created_at, one.id))))

    def get(self, terminal_id: str) -> Terminal:
        """Return one terminal.

        Raises:
            ApiError: 404.
        """
        for terminal in self.list(None).terminals:
            if terminal.id == terminal_id:
                return terminal
        raise not_found("terminal", terminal_id)

    def close(self, terminal_id: str) -> Terminal:
        """Ask the daemon to end a terminal; ``exited`` tells when it has."""
        shown = self.get(terminal_id)
        live = self._live.get(terminal_id)
        if live is not None:
            self._close(live)
        return shown

    @contextmanager
    def view(self, terminal_id: str) -> Iterator[TerminalView]:
        """Watch a terminal while the context lasts. Messages are JSON of ``ViewerMessage``.

        Raises:
            ApiError: 404.
        """
        shown = self.get(terminal_id)
        view = TerminalView(Outbox(self._core.config.limits.terminal_backlog_characters, len))
        live = self._live.get(terminal_id)
        if live is None:
            view.say_farewell(_farewell(shown))
            yield view
            return

        def attach(request_id: str, since: int) -> None:
            live.send(TerminalAttach(request_id, TerminalId(terminal_id), since))

        live.viewers[view.request_id] = view
        view.begin(attach)
        try:
            yield view
        finally:
            live.viewers.pop(view.request_id, None)

    def request(self, terminal_id: str, request: ViewerRequest) -> None:
        """Do what a viewer asks; nothing where the terminal has ended."""
        live = self._live.get(terminal_id)
        if live is None:
            return
        match request:
            case ViewerInput(data=data):
                live.send(TerminalInput(TerminalId(terminal_id), data))
            case ViewerResize(cols=cols, rows=rows):
                live.send(TerminalResize(TerminalId(terminal_id), cols, rows))
                live.shown = evolve(live.shown, cols=cols, rows=rows)
                self._core.broadcaster.publish(TerminalChanged(live.shown))
            case ViewerClose():
                self._close(live)

    # --- the daemon's side ------------------------------------------------------------------

    def handle(self, session: DaemonSession, message: DaemonMessage) -> None:
        """Take a message of a daemon; those about terminals of other sessions mean nothing."""
        terminal_id = getattr(message, "terminal_id", None)
        live = self._live.get(terminal_id) if terminal_id is not None else None
        if live is None or live.session is not session:
            return
        match message:
            case TerminalOutput(chunk=chunk):
                if live.viewers:
                    text = output_text(chunk)
                    for view in live.viewers.values():
                        view.show(text, chunk.seq)
            case TerminalReplay(request_id=request_id, chunks=chunks, next_seq=next_seq):
                found = live.viewers.get(request_id)
                if found is not None:
                    found.replay(chunks, next_seq)
            case TerminalOpened():
                self._opened(live, message)
            case TerminalExited(exit_code=exit_code, close_reason=reason):
                self._exit(live, exit_code, reason)
            case TerminalError():
                self._refused(live, message)
            case _:
                pass

    def _opened(self, live: LiveTerminal, message: TerminalOpened) -> None:
        live.shown = evolve(
            live.shown,
            state="open",
            title=message.title,
            shell=message.shell,
            initial_cwd=message.initial_cwd,
            cols=message.cols,
            rows=message.rows,
        )
        live.opened.set()
        self._core.broadcaster.publish(TerminalChanged(live.shown))

    def _refused(self, live: LiveTerminal, message: TerminalError) -> None:
        view = live.viewers.pop(message.request_id, None)
        if view is not None:
            view.refuse(message.code, message.message)
        if live.shown.state == "open" and message.code == NOT_FOUND:
            # It ended while nobody could tell: before the daemon's new socket was open.
            self._exit(live, None, TerminalCloseReason.DAEMON_DISCONNECT)
        elif view is None and live.shown.state == "opening":
            live.refusal = ApiError(502, message.code, message.message)
            del self._live[live.shown.id]
            live.opened.set()

    def _exit(
        self, live: LiveTerminal, exit_code: int | None, reason: TerminalCloseReason
    ) -> None:
        if self._live.pop(live.shown.id, None) is None:
            return
        live.shown = evolve(
            live.shown, state="exited", exit_code=exit_code, close_reason=reason.value
        )
        self._exited.append(live.shown)
        live.opened.set()
        for view in live.viewers.values():
            view.say_farewell(_farewell(live.shown))
        self._core.broadcaster.publish(TerminalChanged(live.shown))

    # --- sessions ---------------------------------------------------------------------------

    def opened(self, session: DaemonSession, request: SessionOpenRequest) -> None:
        """A daemon is back: what it still has goes on under the new session."""
        if request.open_terminals is not None:
            session.keeps_terminals = True
            there = {one.terminal_id for one in request.open_terminals}
            kept = [live for live in self._waiting() if live.id in there]
            for live in kept:
                if live.shown.host_id == session.host_id:
                    live.session, live.waits_until = session, None
                    there.discard(live.id)
            self._orphans[session.host_id] = sorted(there)
        for live in self._waiting():
            if live.shown.host_id == session.host_id:
                self._exit(live, None, TerminalCloseReason.DAEMON_DISCONNECT)

    def connected(self, session: DaemonSession) -> None:
        """Close what nobody knows, and look at what goes on."""
        for live in self._live.values():
            # Also where nobody watches: the answer tells whether it is still there.
            if live.session is session and live.shown.state == "open":
                for view in live.viewers.values():
                    view.resume()
                if not live.viewers:
                    live.send(TerminalAttach(new_id("treq"), live.id, _NO_OUTPUT))
        for terminal_id in self._orphans.pop(session.host_id, ()):
            if session.socket is not None:
                reason = TerminalCloseReason.DAEMON_DISCONNECT
                session.socket.put(TerminalClose(terminal_id, reason))

    def ended(self, session: DaemonSession) -> None:
        """A session is over: its terminals wait for the daemon to come back with them, or end."""
        until = trio.current_time() + self._core.config.timings.terminal_grace_seconds
        for live in [one for one in self._live.values() if one.session is session]:
            if session.keeps_terminals and live.shown.state == "open":
                live.waits_until = until
            else:
                self._lose(live)

    def sweep(self) -> None:
        """End the terminals whose daemon has not come back in time."""
        for live in self._waiting():
            if live.waits_until is not None and live.waits_until <= trio.current_time():
                self._lose(live)

    def _waiting(self) -> tuple[LiveTerminal, ...]:
        return tuple(live for live in self._live.values() if live.waits_until is not None)

    def _close(self, live: LiveTerminal) -> None:
        if live.waits_until is None:
            live.ask_to_close(TerminalCloseReason.USER)
        else:
            self._lose(live, TerminalCloseReason.USER)

    def _lose(
        self,
        live: LiveTerminal,
        reason: TerminalCloseReason = TerminalCloseReason.DAEMON_DISCONNECT,
    ) -> None:
        """It has ended here; its daemon is told when it is back."""
        self._orphans.setdefault(live.shown.host_id, []).append(live.id)
        self._exit(live, None, reason)

    def finish_all(self, code: int, reason: str) -> None:
        """Close the sockets of all viewers, because the hub stops."""
        for live in self._live.values():
            for view in live.viewers.values():
                view.outbox.finish(code, reason)


def _farewell(shown: Terminal) -> ExitedMessage:
    return ExitedMessage(shown.exit_code, shown.close_reason or "")
