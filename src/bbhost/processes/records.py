"""The values that the process boundary reports. No behaviour."""

from enum import StrEnum

from attrs import frozen

from bbhost.domain.ids import EnvironmentId, Incarnation
from bbhost.processes.proc import ProcessIdentity


class Backend(StrEnum):
    """What holds the boundaries together, best first."""

    CGROUP = "cgroup"
    """A cgroup leaf per boundary, and the walk over descendants for what left it."""
    SUBREAPER = "subreaper"
    """The walk over the daemon's descendants, which include every orphan."""
    PLAIN = "plain"
    """Children, and a search of the whole machine for our mark; an orphan without it is not found."""


@frozen
class ProcessRecord:
    """A process started in a boundary, as the journal keeps it for the sweep after a crash."""

    environment_id: EnvironmentId
    incarnation: Incarnation
    pid: int
    start_time: int
    boot_id: str
    """Start times of another boot mean nothing."""
    marker: str


@frozen
class Bystander:
    """A process that is not ours and has its working directory inside a workspace. Never touched."""

    identity: ProcessIdentity
    name: str
    directory: str


@frozen
class EndReport:
    """What ending a boundary found."""

    ended: tuple[ProcessIdentity, ...] = ()
    survivors: tuple[ProcessIdentity, ...] = ()
    """Still alive after KILL: another user's, or stuck in the kernel."""
    bystanders: tuple[Bystander, ...] = ()


@frozen
class SweepReport:
    """What a killed daemon had left behind."""

    ended: tuple[ProcessIdentity, ...] = ()
    survivors: tuple[ProcessIdentity, ...] = ()
    leaves_removed: int = 0


@frozen
class ProcessStatistics:
    """The state of the keeper at one moment."""

    backend: Backend
    tags_available: bool
    boundaries: int
    children: int
    """Unreaped children of the daemon, git included."""
    orphans_reaped: int
    unattributed: int
    """Adopted processes whose boundary is unknown, as of the last look."""
    ended: int
    survivors: int
