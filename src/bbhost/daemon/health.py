"""Whether the daemon does its work, said truthfully."""

from enum import StrEnum
from typing import Any

import trio
from attrs import frozen

from bbhost.daemon.assembly import Parts
from bbhost.domain.environment import EnvironmentState
from bbhost.lifecycle.session import SessionState
from bbhost.toolkit.faults import fault_point
from bbhost.watch.values import WatchBackend

SLOW_SECONDS = 1.0
"""A loop that was so late within the last minute is worth saying."""
STALLED_SECONDS = 5.0
"""A loop that is so late serves nobody."""
REASONS_LIMIT = 20


class HealthState(StrEnum):
    """The verdict."""

    OK = "ok"
    DEGRADED = "degraded"
    """It works, but not all of it, or not well."""
    STALLED = "stalled"
    """It does not get to its work."""


@frozen
class HealthReport:
    """The verdict with its reasons."""

    state: HealthState
    reasons: tuple[str, ...]
    loop_lag_seconds: float
    """The worst of the last minute."""
    journal_writable: bool
    watcher_alive: bool
    server_connected: bool

    def to_json(self) -> dict[str, Any]:
        """Values for a JSON document."""
        return {
            "health": str(self.state),
            "reasons": list(self.reasons),
            "loopLagSeconds": round(self.loop_lag_seconds, 4),
            "journalWritable": self.journal_writable,
            "watcherAlive": self.watcher_alive,
            "serverConnected": self.server_connected,
        }


async def check_health(parts: Parts) -> HealthReport:
    """Look at the loop, the journal, the watcher and the session. Takes at most some seconds."""
    fault_point("health.check")
    lag = max(parts.lag.last_seconds, parts.lag.overdue_seconds(trio.current_time()))
    stalled = lag >= STALLED_SECONDS
    reasons = []
    if stalled:
        reasons.append(f"the event loop was {lag:.1f} s late just now")
    elif parts.lag.worst_seconds >= SLOW_SECONDS:
        reasons.append(
            f"the event loop was {parts.lag.worst_seconds:.1f} s late in the last minute"
        )
    journal = await parts.journal_probe.trouble()
    if journal:
        reasons.append(f"the journal cannot be written: {journal}")
    watcher = _watcher_troubles(parts)
    session = parts.link.session
    connected = session is not None and session.status.value.state is SessionState.OPEN
    if not connected:
        trouble = None if session is None else session.status.value.trouble
        reasons.append(f"no session with the server{f': {trouble}' if trouble else ''}")
    reasons += [*watcher, *_environment_troubles(parts)]
    state = HealthState.DEGRADED if reasons else HealthState.OK
    return HealthReport(
        HealthState.STALLED if stalled else state,
        tuple(reasons[:REASONS_LIMIT]),
        max(lag, parts.lag.worst_seconds),
        not journal,
        not watcher,
        connected,
    )


def _watcher_troubles(parts: Parts) -> list[str]:
    watch = parts.watches.statistics()
    if parts.watches.preferred is WatchBackend.INOTIFY and not watch.instances:
        return ["there is no inotify instance: everything is polled"]
    gone = sum(coverage.backend is WatchBackend.NONE for _, coverage in watch.watches)
    return [f"{gone} workspaces are not watched"] if gone else []


def _environment_troubles(parts: Parts) -> list[str]:
    troubles = []
    for record in parts.supervisor.records():
        if record.state is EnvironmentState.TOMBSTONED:
            continue
        actor = parts.supervisor.actor(record.environment_id)
        if actor is None:
            troubles.append(f"{record.environment_id} has no owner")
        elif actor.teardown.trouble is not None:
            troubles.append(
                f"{record.environment_id} cannot be torn down: {actor.teardown.trouble.message}"
            )
    return troubles
