"""The comparison, over all combinations of what the server may say and what may be here."""

import itertools

import pytest

from bbhost.domain.environment import EnvironmentState as S
from bbhost.domain.ids import EnvironmentId
from bbhost.reconciler.diff import (
    ActionKind,
    Actual,
    ServerLists,
    diff_environments,
)

ONE = EnvironmentId("env_one")
OTHER = EnvironmentId("env_other")

LIVE = {"not said": None, "listed": frozenset({ONE, OTHER}), "left out": frozenset({OTHER})}
RETIRED = {"not said": None, "named": frozenset({ONE}), "not named": frozenset({OTHER})}


def expected(live: str, retired: str, state: S, idle: bool, unreported: bool) -> ActionKind | None:
    """The rule in words: unwanted and ready is released or kept; tombstoned but live is lifted."""
    unwanted = retired == "named" or live == "left out"
    if state is S.READY and unwanted:
        return ActionKind.RETIRE if idle else ActionKind.KEEP
    if state is S.TOMBSTONED and live == "listed" and retired != "named" and not unreported:
        return ActionKind.LIFT
    return None


@pytest.mark.parametrize(
    ("live", "retired", "state", "idle", "unreported"),
    list(itertools.product(LIVE, RETIRED, S, [True, False], [True, False])),
)
def test_every_combination(
    live: str, retired: str, state: S, idle: bool, unreported: bool
) -> None:
    """One environment under every combination of lists, state, activity and unreported results."""
    actions = diff_environments(
        ServerLists(LIVE[live], RETIRED[retired]),
        [Actual(ONE, state, idle)],
        frozenset({ONE}) if unreported else frozenset(),
    )
    kinds = [action.kind for action in actions]
    wanted = expected(live, retired, state, idle, unreported)
    assert kinds == ([] if wanted is None else [wanted])
    assert all(action.reason for action in actions)


def test_order_is_that_of_what_is_here() -> None:
    """Actions follow the order of the environments, so that a run can be followed."""
    ids = [EnvironmentId(f"env_{number}") for number in range(5)]
    actions = diff_environments(
        ServerLists(live=frozenset()), [Actual(key, S.READY) for key in ids]
    )
    assert [action.environment_id for action in actions] == ids
