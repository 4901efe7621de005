"""What may happen to a daemon: the steps that a schedule is made of."""

from collections.abc import Mapping
from enum import StrEnum

from attrs import frozen

from bbhost.contract import commands as c
from bbhost.domain.ids import EnvironmentId
from bbhost.domain.workspace import (
    ExistingBranchCheckout,
    ManagedWorktreeSpec,
    PersonalSpec,
    UnmanagedSpec,
    WorkspaceContext,
    WorkspaceSpec,
    workspace_kind,
    workspace_path,
)
from tests.simulation.chance import Chance
from tests.simulation.server import body_of


class Kind(StrEnum):
    """The kinds of steps."""

    PROVISION = "provision"
    PROVISION_OTHERWISE = "provision otherwise"
    DESTROY = "destroy"
    STATUS = "status"
    GUEST = "guest"
    BREAK_GUEST = "break guest"
    WRITE = "write"
    COMMIT = "commit"
    OVERFLOW = "overflow"
    KILL_WATCH = "kill watch"
    CUT = "cut"
    CONNECT = "connect"
    CONTRADICT = "contradict"
    REPEAT = "repeat"
    CRASH = "crash"
    POWER_FAILURE = "power failure"
    FAULTS = "faults"
    CALM = "calm"
    WAIT = "wait"
    REMOVE_BY_HAND = "remove by hand"
    LEAVE_BEHIND = "leave behind"
    FORGET = "forget"


WEIGHTS: dict[Kind, int] = {
    Kind.PROVISION: 16,
    Kind.PROVISION_OTHERWISE: 2,
    Kind.DESTROY: 12,
    Kind.STATUS: 14,
    Kind.GUEST: 6,
    Kind.BREAK_GUEST: 1,
    Kind.WRITE: 8,
    Kind.COMMIT: 3,
    Kind.OVERFLOW: 1,
    Kind.KILL_WATCH: 2,
    Kind.CUT: 3,
    Kind.CONNECT: 7,
    Kind.CONTRADICT: 3,
    Kind.REPEAT: 3,
    Kind.CRASH: 4,
    Kind.POWER_FAILURE: 1,
    Kind.FAULTS: 4,
    Kind.CALM: 4,
    Kind.WAIT: 8,
    Kind.REMOVE_BY_HAND: 1,
    Kind.LEAVE_BEHIND: 2,
    Kind.FORGET: 3,
}

MODES = ("honest", "honest", "old", "forgetful", "stubborn", "retiring")
"""What the server says at session open (``server.SimServer``)."""
PARTIAL_MODES = ("forgetful", "retiring")
"""Those that leave out ids that the server has all the same."""
WAITS = (0.0, 0.0, 0.0, 0.1, 1.0, 10.0, 130.0)
FAULTY_SEAMS = (
    "journal",
    "provision",
    "watch",
    "status",
    "boundary",
    "hook",
    "rescue",
    "trash",
    "deregister",
    "rollback",
    "discover",
)
RATES = (0.05, 0.3, 1.0)


@frozen
class Step:
    """One thing that happens, and how long the world runs before the next."""

    kind: Kind
    slot: int = 0
    choice: float = 0.0
    """Decides the details, from 0 to 1."""
    ticks: int = 0
    """Turns of the scheduler before the next step."""
    seconds: float = 0.0
    """Virtual time before the next step."""

    def __str__(self) -> str:
        key = SLOTS[self.slot % len(SLOTS)].environment_id
        return f"{self.kind} {key} {self.choice:.2f} +{self.ticks} +{self.seconds}s"


@frozen
class Slot:
    """One environment that the server may speak of."""

    environment_id: EnvironmentId
    spec: WorkspaceSpec
    other: WorkspaceSpec
    """Another specification for the same id."""

    @property
    def path(self) -> str:
        return workspace_path(self.spec)

    @property
    def context(self) -> WorkspaceContext:
        return WorkspaceContext(self.path, workspace_kind(self.spec))

    def provision(self, *, otherwise: bool = False) -> Mapping[str, object]:
        spec = self.other if otherwise else self.spec
        return body_of(c.EnvironmentProvision(self.environment_id, None, spec))

    def destroy(self) -> Mapping[str, object]:
        return body_of(c.EnvironmentDestroy(self.environment_id, self.context))

    def status(self) -> Mapping[str, object]:
        return body_of(c.WorkspaceStatusCommand(self.environment_id, self.context))


def _worktree(name: str) -> Slot:
    path = f"/data/worktrees/{name}/demo"
    return Slot(
        EnvironmentId(name),
        ManagedWorktreeSpec("/src", path, name, None, 1000),
        ManagedWorktreeSpec("/src", path, f"{name}-other", None, 1000),
    )


SLOTS = (
    _worktree("env_a"),
    _worktree("env_b"),
    Slot(
        EnvironmentId("env_p"), PersonalSpec("/data/p/env_p"), PersonalSpec("/data/p/env_p_other")
    ),
    Slot(
        EnvironmentId("env_u"),
        UnmanagedSpec("/home/dev/repo"),
        UnmanagedSpec("/home/dev/repo", ExistingBranchCheckout("topic")),
    ),
)


def draw_plan(chance: Chance, length: int) -> list[Step]:
    """A plan of ``length`` steps, with one or two environments in the focus of most."""
    focus = chance.upto(len(SLOTS) - 1)
    steps = []
    for _ in range(length):
        slot = focus if chance.happens(0.6) else chance.upto(len(SLOTS) - 1)
        hurried = chance.happens(0.7)
        steps.append(
            Step(
                chance.weighted(WEIGHTS),
                slot,
                chance.upto(999) / 1000,
                ticks=chance.upto(25) if hurried else 0,
                seconds=0.0 if hurried else chance.pick(WAITS),
            )
        )
    return steps
