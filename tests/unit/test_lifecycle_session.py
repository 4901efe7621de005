"""Every cell of the session table, and what each ending leads to."""

from itertools import product

import pytest

from bbhost.lifecycle.base import IllegalEventError
from bbhost.lifecycle.session import (
    ATTEMPT_OUTCOMES,
    EndCause,
    Next,
    SessionCore,
    SessionEvent,
    SessionState,
    after_end,
    after_failure,
)

S, E = SessionState, SessionEvent

TABLE = {
    (S.DISCONNECTED, E.CONNECT): S.OPENING,
    (S.OPENING, E.OPENED): S.OPEN,
    (S.OPENING, E.OPEN_FAILED): S.DISCONNECTED,
    (S.OPEN, E.LOST): S.DISCONNECTED,
    (S.DISCONNECTED, E.DRAIN): S.DRAINING,
    (S.OPENING, E.DRAIN): S.DRAINING,
    (S.OPEN, E.DRAIN): S.DRAINING,
}


@pytest.mark.parametrize(("state", "event"), list(product(SessionState, SessionEvent)))
def test_every_cell(state: SessionState, event: SessionEvent) -> None:
    """What the table does not name raises and changes nothing."""
    core = SessionCore(state)
    target = TABLE.get((state, event))
    if target is None:
        with pytest.raises(IllegalEventError):
            core.accept(event, stay=core.stay)
        assert (core.state, core.stay) == (state, 1)
    else:
        assert core.accept(event, stay=core.stay)
        assert (core.state, core.stay) == (target, 2)


@pytest.mark.parametrize("event", sorted(ATTEMPT_OUTCOMES))
@pytest.mark.parametrize("state", list(SessionState))
def test_the_outcome_of_an_earlier_stay_is_dropped(
    state: SessionState, event: SessionEvent
) -> None:
    core = SessionCore(state)
    assert not core.accept(event, stay=0)
    assert not core.accept(event)
    assert (core.state, core.stay) == (state, 1)


@pytest.mark.parametrize("cause", list(EndCause))
def test_only_a_word_of_the_server_or_a_stop_ends_the_daemon(cause: EndCause) -> None:
    stops = cause in {EndCause.REPLACED, EndCause.DISMISSED, EndCause.STOPPED}
    assert after_end(cause) is (Next.SHUT_DOWN if stops else Next.RECONNECT)


@pytest.mark.parametrize(
    ("final", "ever_open", "seconds", "expected"),
    [
        (True, False, 0, Next.GIVE_UP),
        (False, False, 59.9, Next.RECONNECT),
        (False, False, 60, Next.GIVE_UP),
        (True, True, 0, Next.RECONNECT),
        (True, True, 1e6, Next.RECONNECT),
        (False, True, 1e6, Next.RECONNECT),
    ],
)
def test_a_failure_is_fatal_only_at_start_up(
    final: bool, ever_open: bool, seconds: float, expected: Next
) -> None:
    assert after_failure(final=final, ever_open=ever_open, seconds_since_start=seconds) is expected


def test_the_time_for_the_start_can_be_another() -> None:
    """A server that takes minutes to come up is waited for where that is configured."""
    failure = {"final": False, "ever_open": False, "seconds_since_start": 90.0}
    assert after_failure(**failure) is Next.GIVE_UP
    assert after_failure(**failure, start_up_seconds=120.0) is Next.RECONNECT
