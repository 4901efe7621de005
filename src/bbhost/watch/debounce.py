"""When a burst of changes is over. Pure: times are handed in, nobody sleeps here."""

from attrs import define, field


@define
class Debounce:
    """A burst ends after ``quiet`` seconds without a change, ``longest`` seconds after its first.

    The second bound is what keeps a program that writes without pause from silencing the watch.
    """

    quiet: float
    longest: float
    _first: float | None = field(default=None, init=False)
    _last: float = field(default=0.0, init=False)

    def note(self, now: float) -> None:
        """A change was seen at ``now``."""
        if self._first is None:
            self._first = now
        self._last = now

    @property
    def due_at(self) -> float | None:
        """When the present burst is to be given out; None while there is none."""
        if self._first is None:
            return None
        return min(self._last + self.quiet, self._first + self.longest)

    def end(self, now: float) -> None:
        """Give out what there is now; a burst that is under way goes on as it was."""
        if self._first is None:
            self._first = self._last = now - self.longest

    def take(self) -> None:
        """The burst has been given out; the next change begins another."""
        self._first = None
