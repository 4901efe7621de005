"""How often something is tried again. Pure: the caller sleeps."""

from collections.abc import Iterator

from attrs import define, field

from bbhost.toolkit.backoff import backoff_delays


@define
class Attempts:
    """Counts failures in a row; one success forgets them all."""

    limit: int
    first_seconds: float
    longest_seconds: float
    failures: int = field(default=0, init=False)
    _delays: Iterator[float] | None = field(default=None, init=False)

    def failed(self) -> float | None:
        """Note a failure; return the seconds to wait before the next try, None when it was the last."""
        self.failures += 1
        if self.failures >= self.limit:
            return None
        if self._delays is None:
            self._delays = backoff_delays(self.first_seconds, self.longest_seconds)
        return next(self._delays)

    def succeeded(self) -> None:
        """Begin to count anew."""
        self.failures = 0
        self._delays = None
