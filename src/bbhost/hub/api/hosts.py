"""Public values about hosts, and the ones every part uses."""

from enum import StrEnum
from typing import ClassVar, Literal

from attrs import frozen

from bbhost.contract.fields import NonEmpty
from bbhost.contract.wire import absent


class HostStatus(StrEnum):
    """Whether a daemon of the host has a live session."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"


@frozen
class Host:
    """A machine with a daemon. Times are milliseconds since the epoch."""

    id: str
    name: str
    type: str
    status: HostStatus
    last_seen_at: int | None
    created_at: int
    updated_at: int
    data_dir: str | None
    """None until a daemon of the host has connected."""


@frozen
class HostList:
    """All hosts, oldest first."""

    hosts: tuple[Host, ...]


@frozen
class JoinRequest:
    """Asks for a key with which one daemon may enrol once. A new host id is made where missing."""

    STRICT: ClassVar[bool] = True
    host_id: NonEmpty | None = absent()
    host_type: Literal["persistent"] | None = absent()
    join_mode: Literal["local"] | None = absent()


@frozen
class JoinResponse:
    """The key, and the command that uses it. ``expires_at`` is in milliseconds since the epoch."""

    host_id: str
    join_code: str
    join_command: str
    expires_at: int


@frozen
class Acknowledgement:
    """Nothing to tell beyond success."""

    ok: bool = True


@frozen
class ErrorDescription:
    """The body of every answer that is not a success."""

    code: NonEmpty
    message: NonEmpty
    retryable: bool | None = absent()


@frozen
class Health:
    """Whether the hub serves; nothing about whom or what."""

    status: Literal["ok"] = "ok"
