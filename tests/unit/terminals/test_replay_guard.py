"""When answers of an emulator are kept from the shell."""

from bbhost.terminals.replay_guard import FIRST_VIEW_SECONDS, GUARD_SECONDS, ReplayGuard

ANSWER = b"\x1b[1;1R"


def replayed(now: float = 100.0) -> ReplayGuard:
    """A guard after a first and a second look."""
    guard = ReplayGuard(opened_at=now - 1)
    guard.begin_replay(now)
    assert guard.begin_replay(now)
    guard.end_replay(now)
    return guard


def test_answers_pass_where_nothing_was_replayed() -> None:
    assert not ReplayGuard(0).refuses(ANSWER, 1)


def test_answers_are_refused_during_a_replay_and_for_a_while_after() -> None:
    guard = ReplayGuard(0)
    guard.refuses(b"typed", 1)
    assert guard.begin_replay(10)
    assert guard.refuses(ANSWER, 1000)
    assert not guard.refuses(b"typed", 1000)
    guard.end_replay(1000)
    assert guard.refuses(ANSWER, 1000 + GUARD_SECONDS - 0.1)
    assert not guard.refuses(b"typed", 1000)
    assert not guard.refuses(ANSWER, 1000 + GUARD_SECONDS)


def test_a_live_query_makes_answers_welcome() -> None:
    guard = replayed()
    guard.note_output(b"no query \x1b[31m", 100.1)
    assert guard.refuses(ANSWER, 100.2)
    guard.note_output(b"\x1b[6n", 100.3)
    assert not guard.refuses(ANSWER, 100.4)


def test_only_the_first_look_at_a_new_terminal_shows_queries() -> None:
    assert not ReplayGuard(0).begin_replay(1)
    late = ReplayGuard(0)
    assert late.begin_replay(FIRST_VIEW_SECONDS)
    typed = ReplayGuard(0)
    typed.refuses(b"x", 0.5)
    assert typed.begin_replay(1)
    again = ReplayGuard(0)
    again.begin_replay(1)
    assert again.begin_replay(1.1)
