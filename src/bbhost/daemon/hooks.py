"""What the session asks of the daemon and tells it."""

from collections.abc import Callable
from typing import Any

from bbhost.contract.codec import parse_json
from bbhost.contract.commands import EnvironmentDestroy
from bbhost.contract.session import SessionOpenResponse, ThreadTarget
from bbhost.daemon.terminal_hosting import TerminalHosting
from bbhost.domain.environment import EnvironmentState, TeardownCause
from bbhost.domain.ids import EnvironmentId, ThreadId
from bbhost.environment.supervisor import Supervisor
from bbhost.errors import WireError
from bbhost.journal.journal import Journal
from bbhost.reconciler.diff import ServerLists
from bbhost.reconciler.reconciler import Reconciler
from bbhost.session.hooks import SessionDescription, TerminalMessage

OUTBOX_LOOK = 1_000
"""Results looked at for those of destroys; more than a server leaves unacknowledged."""


class DaemonHooks:
    """The daemon, as the session sees it."""

    def __init__(
        self,
        supervisor: Supervisor,
        reconciler: Reconciler,
        journal: Journal,
        terminals: TerminalHosting,
    ) -> None:
        self._supervisor = supervisor
        self._reconciler = reconciler
        self._journal = journal
        self._terminals = terminals
        self.active_threads: Callable[[], tuple[ThreadId, ...]] = tuple
        """Threads in the middle of a turn; set by the threads' owner."""
        self.track_threads: Callable[[tuple[ThreadTarget, ...]], None] = lambda _targets: None
        """Takes the threads whose storage is watched; set by the storage watcher."""
        self.forget_threads: Callable[[EnvironmentId], None] = lambda _environment_id: None
        """Stops watching the storage of an environment's threads; set by the same."""

    def describe(self) -> SessionDescription:
        """Tell which threads are active, which environments loaded and which terminals open."""
        return SessionDescription(
            self.active_threads(),
            tuple(self._supervisor.live_ids()),
            self._terminals.directory.open_ids(),
        )

    async def session_opened(self, response: SessionOpenResponse) -> None:
        """Take in the server's lists; reconciling goes on by itself."""
        unreported = await self._unreported()
        self._reconciler.take_lists(
            ServerLists(
                _ids(response.live_environment_ids), _ids(response.retired_environment_ids)
            ),
            unreported,
        )
        self.track_threads(response.tracked_thread_targets)

    async def _unreported(self) -> frozenset[EnvironmentId]:
        """Ids whose destruction the server has not heard of: not yet run, or not yet acknowledged.

        A result names only its command. Where one of a destroy waits, every environment that was
        destroyed counts; the next session looks again.
        """
        ids = set()
        for entry in await self._journal.pending_commands():
            command = _json(entry.payload_json).get("command") or {}
            if command.get("type") == EnvironmentDestroy.TYPE:
                ids.add(EnvironmentId(str(command.get("environmentId"))))
        waiting = [_json(entry.report_json) for entry in await self._journal.outbox(OUTBOX_LOOK)]
        if any(report.get("type") == EnvironmentDestroy.TYPE for report in waiting):
            ids |= {
                record.environment_id
                for record in self._supervisor.records()
                if record.state is EnvironmentState.TOMBSTONED
                and record.cause is TeardownCause.DESTROY
            }
        return frozenset(ids)

    def handle_terminal_message(self, message: TerminalMessage) -> None:
        """Hand on a message about a terminal."""
        self._terminals.handle(message)

    async def server_forgot(self, environment_id: EnvironmentId) -> None:
        """The server answered that it does not know this environment: release it."""
        self.forget_threads(environment_id)
        self._reconciler.forget(environment_id)


def _ids(ids: tuple[EnvironmentId, ...] | None) -> frozenset[EnvironmentId] | None:
    return None if ids is None else frozenset(ids)


def _json(text: str) -> dict[str, Any]:
    try:
        value = parse_json(text)
    except WireError:
        return {}
    return value if isinstance(value, dict) else {}
