"""Whether the clock can be right."""

import trio

from bbhost.daemon.doctor.finding import Finding, ok, warning
from bbhost.daemon.doctor.subject import Subject
from bbhost.session.clock import wall_clock_ms

CHECK = "clock"
EARLIEST_MS = 1_735_689_600_000
"""2025-01-01: bbhost is younger than that."""
TOLERANCE_MS = 5 * 60 * 1000


async def check_clock(subject: Subject) -> list[Finding]:
    """Compare the clock with what has been written down."""
    await trio.lowlevel.checkpoint()
    return judge_clock(wall_clock_ms(), [record.changed_at for record in subject.records()])


def judge_clock(now_ms: int, written_ms: list[int]) -> list[Finding]:
    """Say whether the time is possible. Pure."""
    remedy = "set the clock (timedatectl); retention times depend on it"
    if now_ms < EARLIEST_MS:
        return [warning(CHECK, "the clock is years behind", [f"{now_ms} ms"], remedy)]
    ahead = max(written_ms, default=now_ms) - now_ms
    if ahead > TOLERANCE_MS:
        return [
            warning(
                CHECK,
                f"the journal is {ahead / 60_000:.0f} minutes ahead of the clock",
                remedy=remedy,
            )
        ]
    return [ok(CHECK, "the clock agrees with the journal")]
