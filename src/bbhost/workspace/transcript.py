"""The transcript of a provisioning: what was done, in order, for the people who wait for it.

Keys and texts are the wire contract's (section 19.1). A step is reported when it starts and again,
with the same start time, when it has ended; what a program prints is reported line by line.
"""

import time
from collections.abc import Callable

from attrs import define, field, frozen

from bbhost.domain.workspace import TranscriptEntry, TranscriptStatus

MAX_ENTRIES = 5_000
"""Output lines beyond this many entries are dropped, after one entry that says so; steps are always kept."""
MAX_LINE_CHARS = 4_000
"""A longer line is cut, with an ellipsis."""


def wall_clock_ms() -> int:
    """Return the time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@define(eq=False)
class Transcript:
    """Collects entries and hands each to ``on_entry`` at once.

    ``on_entry`` is called in the event loop and must not raise or wait.
    """

    on_entry: Callable[[TranscriptEntry], None] | None = None
    now_ms: Callable[[], int] = wall_clock_ms
    _entries: list[TranscriptEntry] = field(factory=list, init=False)
    _lines: dict[str, int] = field(factory=dict, init=False)

    @property
    def entries(self) -> tuple[TranscriptEntry, ...]:
        """All entries so far, oldest first."""
        return tuple(self._entries)

    def started(self, key: str, text: str) -> "Step":
        """Report that a step has started."""
        step = Step(self, self.now_ms())
        self._add(TranscriptEntry("step", key, text, step.started_at, TranscriptStatus.STARTED))
        return step

    def completed(self, key: str, text: str, metadata: dict[str, object] | None = None) -> None:
        """Report a fact: a step that has no start of its own."""
        self._add(
            TranscriptEntry("step", key, text, self.now_ms(), TranscriptStatus.COMPLETED, metadata)
        )

    def output(self, key: str, text: str) -> None:
        """Report one line under exactly this key."""
        if len(self._entries) > MAX_ENTRIES:
            return
        if len(self._entries) == MAX_ENTRIES:
            key, text = "output-truncated", "More output than is kept here; the rest is left out"
        if len(text) > MAX_LINE_CHARS:
            text = text[: MAX_LINE_CHARS - 1] + "…"
        self._add(TranscriptEntry("output", key, text, self.now_ms()))

    def line(self, prefix: str, text: str) -> None:
        """Report one line of a program's output; the key is ``prefix`` and a number from 1."""
        number = self._lines[prefix] = self._lines.get(prefix, 0) + 1
        self.output(f"{prefix}-{number}", text)

    def _add(self, entry: TranscriptEntry) -> None:
        self._entries.append(entry)
        if self.on_entry is not None:
            self.on_entry(entry)


@frozen
class Step:
    """A step under way."""

    transcript: Transcript
    started_at: int
    """Milliseconds since the epoch."""

    def completed(self, key: str, text: str) -> None:
        """Report its success, with how long it took."""
        self._ended(key, text, TranscriptStatus.COMPLETED)

    def failed(self, key: str, text: str) -> None:
        """Report its failure, with how long it took."""
        self._ended(key, text, TranscriptStatus.FAILED)

    def _ended(self, key: str, text: str, status: TranscriptStatus) -> None:
        duration = max(0, self.transcript.now_ms() - self.started_at)
        self.transcript._add(
            TranscriptEntry("step", key, text, self.started_at, status, {"durationMs": duration})
        )
