"""What the service manager is told while the daemon runs.

READY is sent when the first session is open, because only then it is known what the server wants; or,
where no server answers, ``READY_WAIT_SECONDS`` after all environments have been restored: a laptop
without a network must come up, and everything but the server's commands works by then.

WATCHDOG is fed from the event loop after the daemon has looked at its own health. A loop that is
blocked feeds nothing and is restarted. Trouble that a restart would not cure (no server, a full disk)
is told in the status line and feeds the watchdog all the same: a restart ends all agents.
"""

import logging

import trio
from attrs import define, field

from bbhost.daemon.assembly import Parts
from bbhost.daemon.health import HealthState, check_health
from bbhost.daemon.notify import Notifier
from bbhost.daemon.stopping import StopRequest
from bbhost.domain.environment import EnvironmentState
from bbhost.lifecycle.session import SessionState
from bbhost.session.runner import Session

log = logging.getLogger(__name__)

READY_WAIT_SECONDS = 5.0
LONGEST_INTERVAL_SECONDS = 10.0
"""Between two looks, where the watchdog does not ask for more."""
EXTENSION_SECONDS = 15.0
"""What is asked for at a time while the daemon stops; more than its budgets add up to."""
EXTEND_EVERY_SECONDS = 2.0


@define(eq=False)
class Notices:
    """Keeps the service manager informed. One per daemon; sleeps where nobody listens."""

    notifier: Notifier
    parts: Parts
    stop: StopRequest
    _is_ready: trio.Event = field(factory=trio.Event, init=False)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Feed the watchdog and tell the status until cancelled."""
        task_status.started()
        if not self.notifier.is_wanted:
            return
        async with trio.open_nursery() as telling:
            telling.start_soon(self._tell_stop)
            await self._is_ready.wait()
            while True:
                await self._look()
                await trio.sleep(self._interval)

    async def tell_ready(self, session: Session) -> None:
        """Say READY when the time has come."""
        if not self.notifier.is_wanted:
            return
        with trio.move_on_after(READY_WAIT_SECONDS):
            await session.status.wait_value(lambda status: status.state is SessionState.OPEN)
        self.notifier.ready(self.describe())
        self._is_ready.set()

    def describe(self) -> str:
        """The status line: counts, and whether there is a server."""
        records = self.parts.supervisor.records()
        counts = dict.fromkeys(EnvironmentState, 0)
        for record in records:
            counts[record.state] += 1
        shown = ", ".join(
            f"{counts[state]} {state}"
            for state in EnvironmentState
            if state is not EnvironmentState.TOMBSTONED
            and (counts[state] or state is EnvironmentState.READY)
        )
        session = self.parts.link.session
        link = "no session" if session is None else str(session.status.value.state)
        return f"{shown}; server {link}"

    @property
    def _interval(self) -> float:
        watchdog = self.notifier.watchdog_seconds
        return (
            min(LONGEST_INTERVAL_SECONDS, watchdog / 3) if watchdog else LONGEST_INTERVAL_SECONDS
        )

    async def _look(self) -> None:
        health = await check_health(self.parts)
        line = self.describe()
        if health.state is not HealthState.OK:
            line += f"; {health.state}: {'; '.join(health.reasons)}"
        if not self.stop.event.is_set():
            self.notifier.status(line)
        if self.notifier.watchdog_seconds:
            self.notifier.watchdog()

    async def _tell_stop(self) -> None:
        await self.stop.event.wait()
        self.notifier.stopping(f"stopping: {self.stop.reason}")
        while True:
            self.notifier.extend_timeout(EXTENSION_SECONDS)
            await trio.sleep(EXTEND_EVERY_SECONDS)
