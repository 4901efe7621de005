"""A host, and one run of the daemon on it, which can end at any seam."""

import errno
from collections.abc import Callable

import trio
from attrs import define, field

from bbhost.domain.ids import CommandId
from bbhost.errors import BbhostError, JournalError
from bbhost.session.dispatch import current_command
from tests.simulation.chance import Chance
from tests.simulation.disk import Disk, Owner
from tests.simulation.laws import Laws

SLOW_SECONDS = (0.01, 0.3, 4.0, 40.0)
"""How long a slow step of the world takes."""


class KilledError(BaseException):
    """The daemon was killed. Not an Exception: nothing of the daemon may handle it."""


@define(eq=False, repr=False)
class Host:
    """What outlives the daemon."""

    chance: Chance
    laws: Laws
    disk: Disk
    processes: dict[Owner, dict[str, None]] = field(factory=dict)
    fault_rates: dict[str, float] = field(factory=dict)
    """How often a seam fails, by the first part of its name."""
    slow_rate: float = 0.0
    extra_checkpoints: int = 3
    crash_in: int | None = None
    """Seams until the daemon is killed."""
    crash_at: str | None = None
    """First part of the name of the seam at which the daemon is killed."""
    on_crash: Callable[[], None] = lambda: None
    seams: int = 0


@define(eq=False, repr=False)
class Life:
    """One run of the daemon process."""

    host: Host
    dead: bool = False
    touched: dict[CommandId, int] = field(factory=dict)
    """Steps of the world by the command that caused them."""

    async def seam(self, name: str, subject: str) -> None:
        """A step of the world that may be interleaved, take long, fail, or be the last one.

        Raises:
            BbhostError, OSError: as the schedule has it.
        """
        await self.beat(name, subject)
        host = self.host
        if host.slow_rate and host.chance.happens(host.slow_rate):
            await trio.sleep(host.chance.pick(SLOW_SECONDS))
            self._stop_if_dead()
        rate = host.fault_rates.get(name) or host.fault_rates.get(name.partition(".")[0])
        if rate and host.chance.happens(rate):
            host.laws.note("FAULT", f"{name} {subject}")
            raise _fault(host.chance, name)

    async def beat(self, name: str, subject: str) -> None:
        """A step that may be interleaved, or be the last one, and never fails."""
        self._stop_if_dead()
        host = self.host
        host.seams += 1
        host.laws.note(name, subject)
        command = current_command.get(None)
        if command is not None:
            self.touched[command.command_id] = self.touched.get(command.command_id, 0) + 1
        if host.crash_in is not None:
            host.crash_in -= 1
            if host.crash_in <= 0:
                host.crash_in = None
                host.on_crash()
        if host.crash_at is not None and name.startswith(host.crash_at):
            host.crash_at = None
            host.on_crash()
        await trio.lowlevel.checkpoint()
        for _ in range(host.chance.upto(host.extra_checkpoints)):
            await trio.lowlevel.checkpoint()
        self._stop_if_dead()

    def _stop_if_dead(self) -> None:
        # Reached only where cancellation is shielded or has not been delivered yet.
        if self.dead:
            raise KilledError


def _fault(chance: Chance, name: str) -> Exception:
    if name.startswith("journal"):
        return JournalError("The journal cannot be written: no space left on device")
    return chance.pick(
        (
            BbhostError(f"git failed at {name}", code="git_command_failed"),
            OSError(errno.ENOSPC, f"no space left on device at {name}"),
        )
    )
