"""One run of the daemon: the real owners, dispatcher and reconciler, and a session over the fake line."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import trio
from attrs import define, field

from bbhost.contract import commands as c
from bbhost.contract import results as r
from bbhost.contract.codec import dump_json, parse_json
from bbhost.contract.session import EnvironmentChange, SessionOpenResponse
from bbhost.contract.table import CommandEnvelope, parse_envelope
from bbhost.daemon.environment_commands import EnvironmentCommands
from bbhost.daemon.hooks import DaemonHooks
from bbhost.daemon.terminal_hosting import TerminalHosting
from bbhost.domain.environment import EnvironmentState
from bbhost.domain.ids import CommandId, EnvironmentId, Incarnation
from bbhost.domain.workspace import WorkspaceContext
from bbhost.environment.handle import ReadyHandle
from bbhost.environment.ports import EnvironmentServices
from bbhost.environment.supervisor import Supervisor
from bbhost.errors import BbhostError, EnvironmentDestroyedError, JournalError
from bbhost.journal.journal import Journal
from bbhost.journal.values import InboxEntry
from bbhost.reconciler.reconciler import Reconciler
from bbhost.session.dispatch import Dispatcher, current_command
from bbhost.toolkit.tick import Tick
from tests.simulation.journal import SimJournal
from tests.simulation.laws import acting_owner, only_tried
from tests.simulation.life import Life
from tests.simulation.server import LineCutError, SimServer
from tests.simulation.world import SimBoundary, SimWorkspaces

RETRY_SECONDS = 1.0
POLL_SECONDS = 30.0


class _Sending:
    """The outbox as the dispatcher sees it."""

    def __init__(self) -> None:
        self.tick = Tick()

    def hold(self, command_id: CommandId) -> None:
        """Events are not simulated, so no result waits for them."""

    def release(self, command_id: CommandId) -> None:
        """The same."""

    def wake(self) -> None:
        self.tick.set()


@define(eq=False, repr=False)
class SimDaemon:
    """Composes what ``daemon/`` composes, as far as environments and commands go."""

    life: Life
    server: SimServer
    posts: list[tuple[EnvironmentId, EnvironmentChange]] = field(factory=list)
    journal: SimJournal = field(init=False)
    workspaces: SimWorkspaces = field(init=False)
    supervisor: Supervisor = field(init=False)
    reconciler: Reconciler = field(init=False)
    _hooks: DaemonHooks = field(init=False)
    _sending: _Sending = field(factory=_Sending)
    _requests: trio.Nursery | None = None

    def __attrs_post_init__(self) -> None:
        self.journal = SimJournal(self.life)
        self.workspaces = SimWorkspaces(self.life)
        self.supervisor = Supervisor(
            EnvironmentServices(
                journal=self.journal,
                workspaces=self.workspaces,
                open_boundary=self._open_boundary,
                note_change=self._note_change,
                note_idle=self._note_idle,
                now_ms=self._now_ms,
            )
        )
        self.reconciler = Reconciler(self.supervisor)
        self._hooks = DaemonHooks(
            self.supervisor,
            self.reconciler,
            cast("Journal", self.journal),
            cast("TerminalHosting", None),
        )

    # --- services ------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        return int(trio.current_time() * 1000)

    def _open_boundary(self, key: EnvironmentId, incarnation: Incarnation) -> SimBoundary:
        return SimBoundary(self.life, (key, incarnation))

    def _note_change(self, key: EnvironmentId, change: EnvironmentChange) -> None:
        self.life.host.laws.effect(f"post of {change}")
        self.posts.append((key, change))
        if change is EnvironmentChange.WORK_STATUS:
            self.life.host.laws.untold.pop(key, None)

    def _note_idle(self, key: EnvironmentId) -> None:
        self.reconciler.note_idle(key)

    # --- the ladder ------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Sweep, restore, then serve until cancelled."""
        # What an earlier run left in its boundaries is ended first (processes/ has its own tests).
        self.life.host.processes.clear()
        sender = cast("Any", self._sending)
        commands = EnvironmentCommands(self.supervisor, self.reconciler, _publish_nothing)
        handlers: dict[str, Callable[[Any], Awaitable[object]]] = {
            c.EnvironmentProvision.TYPE: self._ordered(commands.provision),
            c.EnvironmentDestroy.TYPE: self._ordered(commands.destroy),
            c.WorkspaceStatusCommand.TYPE: self._fresh(commands.status),
        }
        dispatcher = Dispatcher(
            handlers, cast("Journal", self.journal), sender, _flush_nothing, clock=self._now_ms
        )
        async with trio.open_nursery() as services:
            await services.start(self.supervisor.run)
            records = self.life.host.disk.rows.environments.values()
            await self._restore(list(records))
            services.start_soon(self.reconciler.run, name="reconciler")
            self._requests = await services.start(self._run_requests)
            await services.start(dispatcher.run)
            for entry in await self.journal.pending_commands():
                self._dispatch(dispatcher, entry.payload_json, resumed=True)
            services.start_soon(self._run_session, dispatcher)
            task_status.started()

    async def _restore(self, records: list[Any]) -> None:
        """As a service manager does: a daemon that cannot start is started again."""
        while True:
            try:
                await self.supervisor.restore(
                    record
                    for record in records
                    if self.supervisor.actor(record.environment_id) is None
                )
            except JournalError:
                await trio.sleep(RETRY_SECONDS)
            else:
                return

    async def _run_requests(self, task_status: trio.TaskStatus[trio.Nursery]) -> None:
        async with trio.open_nursery() as requests:
            task_status.started(requests)
            await trio.sleep_forever()

    # --- handlers, with what must be true of their answers -----------------------------------------

    def _ordered(
        self, handler: Callable[[Any], Awaitable[object]]
    ) -> Callable[[Any], Awaitable[object]]:
        async def run(command: Any) -> object:
            laws = self.life.host.laws
            laws.began[current_command.get().command_id] = laws.lists
            if isinstance(command, c.EnvironmentDestroy):
                laws.ordered[command.environment_id] = None
                laws.welcomed.pop(command.environment_id, None)
            else:
                laws.welcomed[command.environment_id] = laws.lists
            return await handler(command)

        return run

    def _fresh(
        self, handler: Callable[[Any], Awaitable[r.WorkspaceStatusResult]]
    ) -> Callable[[Any], Awaitable[object]]:
        async def run(command: c.WorkspaceStatusCommand) -> object:
            laws, disk = self.life.host.laws, self.life.host.disk
            key = command.environment_id
            before = disk.rows.environments.get(key)
            path = command.workspace_context.workspace_path if before is None else before.path
            place = disk.files.places.get(path)
            touched = _touches(self.life)
            laws.note_excluded(key)
            try:
                result = await handler(command)
            except EnvironmentDestroyedError:
                destroyed = before is not None and before.state is EnvironmentState.TOMBSTONED
                if destroyed and not only_tried(before):
                    laws.require(_touches(self.life) == touched, f"a refused status touched {key}")
                raise
            record = disk.rows.environments.get(key)
            laws.require(
                record is not None and record.state is not EnvironmentState.TOMBSTONED,
                f"the status of {key} was answered after its destruction",
            )
            tree = result.workspace_status.working_tree
            if tree.insertions >= laws.untold.get(key, 0):
                laws.untold.pop(key, None)
            same = before is None or record is None or before.incarnation == record.incarnation
            if place is not None and same and path not in disk.files.foreign:
                laws.require(
                    tree.insertions >= place.content and tree.deletions >= place.tip,
                    f"the status of {key} is {tree.insertions}/{tree.deletions}, and it was "
                    f"{place.content}/{place.tip} when it was asked for",
                )
            return result

        return run

    # --- guests: terminals and threads ---------------------------------------------------------------

    def open_guest(self, key: EnvironmentId, context: WorkspaceContext, seconds: float) -> None:
        """Open a terminal or start a thread, as a message of the server does."""
        if self._requests is not None:
            self._requests.start_soon(self._open_guest, key, context, seconds, name="guest")

    async def _open_guest(
        self, key: EnvironmentId, context: WorkspaceContext, seconds: float
    ) -> None:
        before = self.life.host.disk.rows.environments.get(key)
        self.life.host.laws.note_excluded(key)
        try:
            handle = await self.supervisor.enter(key, context)
            handle.stay.host(self._guest, handle, seconds)
        except BbhostError as error:
            self.life.host.laws.note("guest refused", f"{key}: {error.message}")
            return
        record = self.life.host.disk.rows.environments[key]
        self.life.host.laws.require(
            before is None
            or before.state is not EnvironmentState.TOMBSTONED
            or record.incarnation == before.incarnation + 1,
            f"a guest entered the tombstoned {key}",
        )

    async def _guest(self, handle: ReadyHandle, seconds: float) -> None:
        laws = self.life.host.laws
        owner = acting_owner()
        assert owner is not None
        laws.in_ready("guest")
        laws.alive.setdefault(owner, []).append("guest")
        try:
            with handle.stay.activity("guest"):
                laws.busy[owner] = laws.busy.get(owner, 0) + 1
                try:
                    cast("SimBoundary", handle.boundary).start(f"shell-{laws.busy[owner]}")
                    if seconds < 0:
                        laws.guests_broken += 1
                        raise ZeroDivisionError("a defect in a guest")
                    await trio.sleep(seconds)
                finally:
                    laws.busy[owner] -= 1
        except BbhostError as error:
            laws.note("guest ended", f"{owner}: {error.message}")
        finally:
            laws.alive[owner].remove("guest")

    def forget(self, key: EnvironmentId) -> None:
        """Drop its tombstone if there is one that is of no use any more."""
        if self._requests is not None:
            self._requests.start_soon(self._forget, key, name="forgetting")

    async def _forget(self, key: EnvironmentId) -> None:
        try:
            if await self.supervisor.forget(key):
                self.life.host.laws.note("forgotten", key)
        except JournalError as error:
            self.life.host.laws.note("not forgotten", f"{key}: {error.message}")

    # --- the session -----------------------------------------------------------------------------------

    async def _run_session(self, dispatcher: Dispatcher) -> None:
        while True:
            number = await self.server.line.wait_value(lambda number: number != 0)
            with trio.CancelScope() as session:
                async with trio.open_nursery() as link:
                    link.start_soon(self._watch_line, number, session)
                    response = self.server.lists()
                    await self.life.beat("session.open", self.server.mode)
                    await self._take_lists(response)
                    link.start_soon(self._fetch, dispatcher)
                    link.start_soon(self._report)

    async def _watch_line(self, number: int, session: trio.CancelScope) -> None:
        await self.server.line.wait_value(lambda now: now != number)
        session.cancel()

    async def _take_lists(self, response: SessionOpenResponse) -> None:
        laws = self.life.host.laws
        await self._hooks.session_opened(response)
        laws.take_lists(response.live_environment_ids, response.retired_environment_ids or ())
        laws.dismissed = dict.fromkeys(
            key for key in laws.ordered if key in self.reconciler._unreported
        )

    async def _fetch(self, dispatcher: Dispatcher) -> None:
        while True:
            self.server.wake = trio.Event()
            batch = self.server.fetch()
            await self.life.beat("session.fetch", str(len(batch)))
            if batch:
                await self._take_in(dispatcher, batch)
            with trio.move_on_after(POLL_SECONDS):
                await self.server.wake.wait()

    async def _take_in(self, dispatcher: Dispatcher, batch: list[dict[str, Any]]) -> None:
        entries = [InboxEntry(e["id"], e["cursor"], dump_json(e)) for e in batch]
        while True:
            try:
                with trio.CancelScope(shield=True):
                    new = await self.journal.accept_commands(entries)
                break
            except JournalError:
                await trio.sleep(RETRY_SECONDS)
        for entry in entries:
            if entry.command_id in new:
                new.remove(entry.command_id)
                self._dispatch(dispatcher, entry.payload_json)

    def _dispatch(self, dispatcher: Dispatcher, payload: str, *, resumed: bool = False) -> None:
        envelope = parse_envelope(parse_json(payload))
        assert isinstance(envelope, CommandEnvelope), envelope
        dispatcher.dispatch(envelope, resumed=resumed)

    async def _report(self) -> None:
        while True:
            for entry in await self.journal.outbox(10):
                await self.life.beat("session.report", entry.command_id)
                try:
                    self.server.take_result(entry.command_id, entry.report_json)
                    await self.journal.acknowledge(entry.seq)
                except (LineCutError, JournalError):
                    await trio.sleep(RETRY_SECONDS)
                    break
            else:
                with trio.move_on_after(POLL_SECONDS):
                    await self._sending.tick.wait()


def _touches(life: Life) -> int:
    """How much this command has done to the world."""
    command_id = current_command.get().command_id
    return life.touched.get(command_id, 0)


async def _publish_nothing(_event: object) -> None:
    await trio.lowlevel.checkpoint()


async def _flush_nothing() -> None:
    await trio.lowlevel.checkpoint()
