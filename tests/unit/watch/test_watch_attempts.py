"""How often a start is tried."""

from bbhost.watch.attempts import Attempts


def test_the_last_of_sixty_failures_ends_it() -> None:
    attempts = Attempts(60, 0.25, 30.0)
    delays = [attempts.failed() for _ in range(60)]
    assert delays[-1] is None
    assert None not in delays[:-1]


def test_delays_grow_to_the_longest() -> None:
    attempts = Attempts(60, 0.25, 30.0)
    delays = [attempts.failed() or 0 for _ in range(20)]
    assert delays[0] < 0.5
    assert 20 < max(delays) <= 30 * 1.25


def test_a_success_forgets_all_failures() -> None:
    attempts = Attempts(3, 0.25, 30.0)
    for _ in range(10):
        assert attempts.failed() is not None
        assert attempts.failed() is not None
        attempts.succeeded()
    assert attempts.failures == 0
