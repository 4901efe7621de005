"""The life of a thread in one environment: the table, and the core that keeps count of its turns.

A thread has at most one turn at a time. It is *starting* from the moment a turn is accepted until the
agent has begun it, *stopping* from the moment somebody asks for the end of the turn until it has
ended. *failed* means that its agent has gone or never came; the next turn starts another one. What is
done about it is in ``bbhost.environment.threads``.
"""

from enum import StrEnum

from statemachine import State

from bbhost.lifecycle.base import Machine


class ThreadState(StrEnum):
    """The states of the thread machine."""

    IDLE = "idle"
    STARTING = "starting"
    ACTIVE = "active"
    STOPPING = "stopping"
    FAILED = "failed"


class ThreadMachine(Machine):
    """idle -> starting -> active -> idle; stopping ends a turn early, failed has lost its agent."""

    idle = State(value=ThreadState.IDLE, initial=True)
    starting = State(value=ThreadState.STARTING)
    active = State(value=ThreadState.ACTIVE)
    stopping = State(value=ThreadState.STOPPING)
    failed = State(value=ThreadState.FAILED)

    submit = idle.to(starting) | failed.to(starting)
    # From idle: agents also begin turns that nobody here asked for.
    turn_started = starting.to(active) | idle.to(active)
    start_failed = starting.to(failed) | stopping.to(idle)
    turn_ended = active.to(idle) | stopping.to(idle)
    stop = starting.to(stopping) | active.to(stopping)
    stop_expired = stopping.to(failed)
    # While stopping, the end of the agent is one way for the turn to end.
    agent_exited = idle.to(failed) | starting.to(failed) | active.to(failed) | stopping.to(idle)


class ThreadEvent(StrEnum):
    """The events of the table."""

    SUBMIT = "submit"
    TURN_STARTED = "turn_started"
    START_FAILED = "start_failed"
    TURN_ENDED = "turn_ended"
    STOP = "stop"
    STOP_EXPIRED = "stop_expired"
    AGENT_EXITED = "agent_exited"


WORK_OUTCOMES = frozenset({ThreadEvent.START_FAILED, ThreadEvent.STOP_EXPIRED})
"""Events that work on one turn reports; they must carry the number of that turn."""

AGENT_OUTCOMES = frozenset(
    {ThreadEvent.TURN_STARTED, ThreadEvent.TURN_ENDED, ThreadEvent.AGENT_EXITED}
)
"""Events that an agent reports; they must carry the number of that agent."""

_BEGINNINGS = frozenset({ThreadEvent.SUBMIT})


class ThreadCore:
    """State of one thread, the number of its turn and of its agent."""

    def __init__(self, state: ThreadState = ThreadState.IDLE) -> None:
        self._machine = ThreadMachine(start_value=state)
        self._turn = 0
        self._agent = 0

    def __repr__(self) -> str:
        return f"<ThreadCore {self.state} turn={self._turn} agent={self._agent}>"

    @property
    def state(self) -> ThreadState:
        """The present state."""
        return ThreadState(self._machine.state_name)

    @property
    def turn(self) -> int:
        """Number of the last turn that was submitted here."""
        return self._turn

    @property
    def agent(self) -> int:
        """Number of the last agent."""
        return self._agent

    @property
    def is_busy(self) -> bool:
        """A turn is starting, runs or is being stopped."""
        return self.state in {ThreadState.STARTING, ThreadState.ACTIVE, ThreadState.STOPPING}

    def next_agent(self) -> int:
        """Count another agent; what its predecessors report from here on is stale."""
        self._agent += 1
        return self._agent

    def accept(
        self, event: ThreadEvent, *, turn: int | None = None, agent: int | None = None
    ) -> bool:
        """Take ``event`` and move.

        Args:
            event: what happened or is asked.
            turn: for outcomes of work, the turn it worked on.
            agent: for what an agent reports, its number.

        Returns:
            False for the outcome of an earlier turn or agent, which changed nothing.

        Raises:
            IllegalEventError: the table has no such row; nothing changed.
        """
        if event in WORK_OUTCOMES and turn != self._turn:
            return False
        if event in AGENT_OUTCOMES and agent != self._agent:
            return False
        self._machine.accept(event)
        if event in _BEGINNINGS:
            self._turn += 1
        return True
