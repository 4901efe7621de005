"""The transcript is bounded, and its times are the steps' own."""

from bbhost.domain.workspace import TranscriptEntry, TranscriptStatus
from bbhost.workspace.transcript import MAX_ENTRIES, MAX_LINE_CHARS, Transcript


def test_a_step_ends_with_its_start_time_and_duration() -> None:
    """The server shows one step, not two."""
    times = iter([1000, 1250])
    transcript = Transcript(now_ms=lambda: next(times))
    step = transcript.started("x-started", "Doing")
    step.failed("x-failed", "Failed")
    assert transcript.entries == (
        TranscriptEntry("step", "x-started", "Doing", 1000, TranscriptStatus.STARTED),
        TranscriptEntry(
            "step", "x-failed", "Failed", 1000, TranscriptStatus.FAILED, {"durationMs": 250}
        ),
    )


def test_output_is_numbered_and_bounded_but_steps_are_kept() -> None:
    """A script that prints for ever costs bounded memory."""
    transcript = Transcript(now_ms=lambda: 0)
    transcript.line("out", "y" * (MAX_LINE_CHARS + 1))
    for _ in range(MAX_ENTRIES + 100):
        transcript.line("out", "y")
    transcript.completed("done", "Done")
    entries = transcript.entries
    assert len(entries) == MAX_ENTRIES + 2
    assert [entry.key for entry in entries[:2]] == ["out-1", "out-2"]
    assert entries[-2].key == "output-truncated"
    assert entries[-1].key == "done"
    assert len(entries[0].text) == MAX_LINE_CHARS
