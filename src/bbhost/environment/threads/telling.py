"""Events that are told of a thread from here and not by its agent. Pure."""

from typing import Literal

from bbhost.agents.provider import AgentExit
from bbhost.contract import events as e
from bbhost.domain.ids import ThreadId
from bbhost.environment.threads.mail import Exited

TurnStatus = Literal["completed", "failed", "interrupted"]


def completed(
    thread_id: ThreadId,
    provider_thread_id: str | None,
    turn_id: str,
    status: TurnStatus,
    message: str | None = None,
) -> e.ThreadEvent:
    """The end of a turn."""
    fault = None if message is None else e.TurnFault(message)
    return e.TurnCompleted(thread_id, e.TurnScope(turn_id), provider_thread_id, status, fault)


def accepted(
    thread_id: ThreadId, provider_thread_id: str, turn_id: str, request_id: str
) -> e.ThreadEvent:
    """A request became part of a turn."""
    return e.TurnInputAccepted(thread_id, e.TurnScope(turn_id), provider_thread_id, request_id)


def unbegun(
    thread_id: ThreadId, provider_thread_id: str, request_id: str, message: str | None = None
) -> list[e.ThreadEvent]:
    """A request that was taken and never got its turn: a turn that was interrupted at once."""
    scope = e.TurnScope(f"turn_{request_id}")
    return [
        e.TurnStarted(thread_id, scope, provider_thread_id),
        accepted(thread_id, provider_thread_id, scope.turn_id, request_id),
        completed(thread_id, provider_thread_id, scope.turn_id, "interrupted", message),
    ]


def thread_error(thread_id: ThreadId, message: str) -> e.ThreadEvent:
    """Something went wrong outside of any turn."""
    return e.SystemErrorEvent(thread_id, e.ThreadScope(), message)


def exit_events(
    thread_id: ThreadId,
    provider_id: str,
    provider_thread_id: str | None,
    exited: Exited,
    *,
    turn_id: str | None,
    stopped: bool,
) -> list[e.ThreadEvent]:
    """An agent has gone: the end of its turn, then the end of its process.

    Args:
        turn_id: of the turn that ran.
        stopped: somebody here wanted it to end.
    """
    message = _describe_exit(provider_id, exited)
    events: list[e.ThreadEvent] = []
    if turn_id is not None:
        status: TurnStatus = "interrupted" if stopped else "failed"
        why = None if stopped else message
        events.append(completed(thread_id, provider_thread_id, turn_id, status, why))
    is_quiet = exited.exit is not None and exited.exit.returncode == 0 and turn_id is None
    if not stopped and not is_quiet and (turn_id is not None or exited.exit is not None):
        events.append(_exit_error(thread_id, message, exited.exit))
    return events


def _exit_error(thread_id: ThreadId, message: str, end: AgentExit | None) -> e.ThreadEvent:
    """The process of an agent has gone."""
    tail = "" if end is None else end.stderr
    return e.SystemErrorEvent(
        thread_id,
        e.ThreadScope(),
        message,
        code="provider_process_exited",
        detail=f"stderr:\n{tail}" if tail else None,
    )


def _describe_exit(provider_id: str, exited: Exited) -> str:
    """How an agent ended, in words."""
    provider = f'Provider "{provider_id}"'
    if exited.exit is None:
        return f"{provider} was ended: {exited.problem or 'it was not needed any more'}"
    return f"{provider} {exited.exit.describe()}"
