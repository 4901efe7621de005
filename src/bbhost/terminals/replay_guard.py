"""Keeping the answers to a replay out of the shell. Pure; the caller tells the time.

Queries are cut out of a replay, yet an emulator may answer to other things it is shown again (it
reports its focus when that mode is switched on). For a while after a replay, input that is nothing
but answers is therefore dropped, unless the terminal has asked something since, live.
"""

from attrs import define, field

from bbhost.terminals.queries import has_query, is_answer

GUARD_SECONDS = 2.0
"""Time after a replay in which a browser far away may still answer to it."""
FIRST_VIEW_SECONDS = 10.0
"""A shell that asks at its start waits this long, at most, for somebody to look and answer."""


@define(eq=False)
class ReplayGuard:
    """Decides, for one terminal, what a replay shows and which input after it is refused."""

    opened_at: float
    """Monotonic time, seconds."""
    _untouched: bool = field(default=True, init=False)
    _guarded_until: float = field(default=float("-inf"), init=False)
    _replays: int = field(default=0, init=False)

    def begin_replay(self, now: float) -> bool:
        """A replay begins. True where queries must be cut out of it.

        They stay in the first look at a new terminal that nobody has typed into: its shell may have
        asked before anybody looked, and waits for the answer.
        """
        if self._untouched and now - self.opened_at < FIRST_VIEW_SECONDS:
            self._untouched = False
            return False
        self._untouched = False
        self._replays += 1
        return True

    def end_replay(self, now: float) -> None:
        """A replay that queries were cut out of has been sent."""
        self._replays -= 1
        self._guarded_until = now + GUARD_SECONDS

    def note_output(self, data: bytes, now: float) -> None:
        """The terminal wrote ``data``: if it asks, answers are welcome again."""
        if now < self._guarded_until and has_query(data):
            self._guarded_until = float("-inf")

    def refuses(self, data: bytes, now: float) -> bool:
        """Whether this input must not reach the shell."""
        self._untouched = False
        return (self._replays > 0 or now < self._guarded_until) and is_answer(data)
