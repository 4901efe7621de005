"""What to do about the difference between the server's lists and what is here. Pure.

An absent list means *unknown*, never *empty*: an old server that does not send ``liveEnvironmentIds``
orders nothing by that.
"""

from collections.abc import Iterable
from enum import StrEnum

from attrs import frozen

from bbhost.domain.environment import EnvironmentState
from bbhost.domain.ids import EnvironmentId


class ActionKind(StrEnum):
    """What the reconciler may do."""

    RETIRE = "retire"
    """Ready and idle, and the server does not want it: release it, leave its files."""
    KEEP = "keep"
    """Not wanted, but at work: keep it, look again when it becomes idle."""
    LIFT = "lift"
    """Tombstoned, but the server lists it as live: a new incarnation."""


@frozen
class Action:
    """One thing to do, and why."""

    kind: ActionKind
    environment_id: EnvironmentId
    reason: str


@frozen
class Actual:
    """One environment as it stands here."""

    environment_id: EnvironmentId
    state: EnvironmentState
    idle: bool = True


@frozen
class ServerLists:
    """What the server said at session open."""

    live: frozenset[EnvironmentId] | None = None
    """All ids of this host that are not destroyed; None: not said."""
    retired: frozenset[EnvironmentId] | None = None
    """Loaded ids that the server no longer wants; None: not said."""

    def unwanted(self, environment_id: EnvironmentId) -> str | None:
        """Why the server does not want this id; None when it does or has not said."""
        if self.retired is not None and environment_id in self.retired:
            return "the server retired it"
        if self.live is not None and environment_id not in self.live:
            return "the server does not list it as live"
        return None

    def wanted(self, environment_id: EnvironmentId) -> bool:
        """Whether the server has said that this id is live. Being retired contradicts it."""
        if self.retired is not None and environment_id in self.retired:
            return False
        return self.live is not None and environment_id in self.live


def diff_environments(
    lists: ServerLists,
    actual: Iterable[Actual],
    unreported: frozenset[EnvironmentId] = frozenset(),
) -> list[Action]:
    """Compare the server's lists with what is here.

    Args:
        lists: what the server said.
        actual: every environment known here, tombstones included.
        unreported: ids whose destruction has ended here while the server has not acknowledged the
            result yet. It still lists them as live; that is not a contradiction.

    Returns:
        Actions in the order of ``actual``. Provisioning and destroying environments are left
        alone: those states end by themselves.
    """
    actions = []
    for here in actual:
        environment_id = here.environment_id
        if here.state is EnvironmentState.READY:
            reason = lists.unwanted(environment_id)
            if reason is not None:
                kind = ActionKind.RETIRE if here.idle else ActionKind.KEEP
                actions.append(Action(kind, environment_id, reason))
        elif (
            here.state is EnvironmentState.TOMBSTONED
            and environment_id not in unreported
            and lists.wanted(environment_id)
        ):
            reason = "the server lists it as live although it is tombstoned here"
            actions.append(Action(ActionKind.LIFT, environment_id, reason))
    return actions
