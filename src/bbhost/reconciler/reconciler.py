"""The task that applies the comparison, one environment at a time, through the supervisor."""

import logging
from collections import OrderedDict

import trio
from attrs import frozen

from bbhost.domain.environment import EnvironmentRecord, EnvironmentState
from bbhost.domain.ids import EnvironmentId
from bbhost.environment.session_knowledge import SessionKnowledge
from bbhost.environment.supervisor import Supervisor
from bbhost.errors import BbhostError
from bbhost.reconciler.diff import (
    Action,
    ActionKind,
    Actual,
    ServerLists,
    diff_environments,
)
from bbhost.toolkit.tick import Tick

log = logging.getLogger(__name__)

MAX_REPORTED = 1_000
"""Outcomes kept for ``bbhost status``; the oldest is dropped."""
FAILED_PAUSE_SECONDS = 5.0
"""After an action failed: an environment that becomes ready again is looked at again at once."""


@frozen
class Outcome:
    """What became of one action."""

    action: Action
    done: bool
    detail: str
    failed: bool = False
    """It was begun and went wrong; not merely put off."""


class Reconciler:
    """Holds the server's latest lists and brings the supervisor in line with them.

    Args:
        supervisor: whose environments are reconciled.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._lists = ServerLists()
        self._unreported: frozenset[EnvironmentId] = frozenset()
        """Ids that the server destroys or has destroyed since its lists were made."""
        self._tick = Tick()
        self.outcomes: OrderedDict[EnvironmentId, Outcome] = OrderedDict()
        """Latest outcome by environment."""

    def take_lists(
        self, lists: ServerLists, unreported: frozenset[EnvironmentId] = frozenset()
    ) -> None:
        """Remember what a session-open said and reconcile soon. Never blocks.

        Args:
            unreported: ids of destroy commands that the server had not been told the result of when
                it made the lists. It lists them as live without contradicting their tombstones.
        """
        self._unreported = unreported
        self._know(lists)
        self._tick.set()

    def _know(self, lists: ServerLists) -> None:
        self._lists = lists
        self._supervisor.knowledge = SessionKnowledge(lists.live, lists.retired or frozenset())

    def forget(self, environment_id: EnvironmentId) -> None:
        """The server answered that it does not know this id (404, 410). Never blocks."""
        retired = (self._lists.retired or frozenset()) | {environment_id}
        live = None if self._lists.live is None else self._lists.live - {environment_id}
        self._know(ServerLists(live, retired))
        self._tick.set()

    def welcome(self, environment_id: EnvironmentId) -> None:
        """The server provisions this id: what its older lists said no longer holds."""
        retired = (self._lists.retired or frozenset()) - {environment_id}
        live = None if self._lists.live is None else self._lists.live | {environment_id}
        self._unreported -= {environment_id}
        self._know(ServerLists(live, retired))

    def dismiss(self, environment_id: EnvironmentId) -> None:
        """The server destroys this id: that its older list says "live" no longer lifts anything."""
        self._unreported |= {environment_id}

    def note_idle(self, environment_id: EnvironmentId) -> None:
        """An environment has become idle: one that was kept may be retired now. Never blocks."""
        if self._lists.unwanted(environment_id) is not None:
            self._tick.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Reconcile after each new list or idle environment, until cancelled."""
        task_status.started()
        while True:
            await self._tick.wait()
            outcomes = await self.reconcile()
            if any(outcome.failed for outcome in outcomes):
                await trio.sleep(FAILED_PAUSE_SECONDS)

    async def reconcile(self) -> list[Outcome]:
        """Compare and apply once."""
        actions = diff_environments(self._lists, self._actual(), self._unreported)
        outcomes = []
        for action in actions:
            if not self._still_holds(action):
                continue  # what came in while the earlier ones were applied has settled it
            outcome = await self._apply(action)
            log.info(
                "reconcile: %s (%s): %s",
                action.kind,
                action.reason,
                outcome.detail,
                extra={"environment": action.environment_id},
            )
            outcomes.append(outcome)
            self.outcomes[action.environment_id] = outcome
            self.outcomes.move_to_end(action.environment_id)
            if len(self.outcomes) > MAX_REPORTED:
                self.outcomes.popitem(last=False)
        return outcomes

    def _actual(self) -> list[Actual]:
        return [self._actual_of(record) for record in self._supervisor.records()]

    def _actual_of(self, record: EnvironmentRecord) -> Actual:
        actor = self._supervisor.actor(record.environment_id)
        idle = actor is None or actor.stay is None or actor.stay.is_idle
        return Actual(record.environment_id, record.state, idle)

    def _still_holds(self, action: Action) -> bool:
        """Whether the server's word and the environment would lead to the same action now."""
        view = self._supervisor.view(action.environment_id)
        here = [] if view is None else [self._actual_of(view.record)]
        kinds = {one.kind for one in diff_environments(self._lists, here, self._unreported)}
        return action.kind in kinds

    async def _apply(self, action: Action) -> Outcome:
        try:
            match action.kind:
                case ActionKind.KEEP:
                    await trio.lowlevel.checkpoint()
                    return Outcome(action, False, "kept: it has active work")
                case ActionKind.RETIRE:
                    retired = await self._supervisor.retire(action.environment_id)
                    detail = "retired" if retired else "kept: it became busy"
                    return Outcome(action, retired, detail)
                case ActionKind.LIFT:
                    record = await self._supervisor.lift(
                        action.environment_id, lambda: self._still_holds(action)
                    )
                    lifted = record.state is EnvironmentState.READY
                    detail = "lifted" if lifted else f"still tombstoned: {record.detail}"
                    return Outcome(action, lifted, detail)
        except BbhostError as error:
            return Outcome(action, False, f"failed: {error.message}", failed=True)
