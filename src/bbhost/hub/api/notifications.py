"""What ``/api/v1/ws`` tells. Notifications are hints: whoever misses one reads the state."""

from typing import ClassVar

from attrs import frozen

from bbhost.contract.wire import absent
from bbhost.hub.api.environments import Environment
from bbhost.hub.api.hosts import HostStatus
from bbhost.hub.api.terminals import Terminal
from bbhost.hub.api.threads import AppDataEntry, Interaction, Thread


@frozen
class Hello:
    """The first message on every notification socket."""

    TYPE: ClassVar[str] = "hello"


@frozen
class HostChanged:
    """A daemon connected or disconnected."""

    host_id: str
    status: HostStatus
    TYPE: ClassVar[str] = "host"


@frozen
class EnvironmentChanged:
    """Something in the environment's workspace or storage changed; ask for its status."""

    environment_id: str
    change: str
    """``work-status-changed``, ``git-refs-changed`` or ``thread-storage-changed``."""
    TYPE: ClassVar[str] = "environment-change"


@frozen
class EnvironmentStateChanged:
    """The environment is in another state, or failed in this one."""

    environment: Environment
    TYPE: ClassVar[str] = "environment-state"


@frozen
class ProvisioningProgress:
    """More of a provisioning transcript."""

    environment_id: str
    provisioning_id: str
    entries: tuple[object, ...]
    TYPE: ClassVar[str] = "provisioning"


@frozen
class TerminalChanged:
    """A terminal opened, was resized or ended."""

    terminal: Terminal
    TYPE: ClassVar[str] = "terminal"


@frozen
class ThreadChanged:
    """A thread is in another state or has another title."""

    thread: Thread
    TYPE: ClassVar[str] = "thread"


@frozen
class ThreadEventsAppended:
    """A thread has events up to ``sequence``."""

    thread_id: str
    sequence: int
    TYPE: ClassVar[str] = "thread-events"


@frozen
class InteractionChanged:
    """An agent asks, or its question was answered or fell away."""

    interaction: Interaction
    TYPE: ClassVar[str] = "interaction"


@frozen
class AppDataChanged:
    """A thread's app wrote data; ``entry`` is absent after a resync, when all may have changed."""

    thread_id: str
    app_id: str
    entry: AppDataEntry | None = absent()
    TYPE: ClassVar[str] = "app-data"


Notification = (
    Hello
    | HostChanged
    | EnvironmentChanged
    | EnvironmentStateChanged
    | ProvisioningProgress
    | TerminalChanged
    | ThreadChanged
    | ThreadEventsAppended
    | InteractionChanged
    | AppDataChanged
)
