"""Hosts as the public sees them, and how new ones are let in."""

import shlex
import sqlite3

from bbhost.contract.ids import new_id
from bbhost.domain.ids import HostId
from bbhost.hub.api.hosts import Host, HostList, HostStatus, JoinRequest, JoinResponse
from bbhost.hub.clock import now_ms
from bbhost.hub.errors import ApiError, not_found, unauthorized
from bbhost.hub.keys import mint_key
from bbhost.hub.services.core import Core
from bbhost.hub.storage import hosts as table
from bbhost.hub.storage.hosts import HostRecord

HOST_TYPE = "persistent"


class Hosts:
    """Joins, enrols and lists hosts.

    Args:
        server_url: where daemons reach this hub, as it is written into join commands.
    """

    def __init__(self, core: Core, server_url: str) -> None:
        self._core = core
        self._server_url = server_url

    async def join(self, request: JoinRequest) -> JoinResponse:
        """Make a key with which one daemon may enrol once; older keys of that host stop working."""
        host_id = request.host_id or new_id("host")
        key = mint_key("bbde")
        now = now_ms()
        expires_at = now + int(self._core.config.timings.enroll_key_seconds * 1000)

        def step(db: sqlite3.Connection) -> None:
            table.add_enroll_key(
                db, host_id=host_id, host_type=HOST_TYPE, key=key, expires_at=expires_at, now=now
            )

        await self._core.database.run(step, durable=True)
        command = shlex.join(
            ["bbhost", "daemon", "--server-url", self._server_url, "--host-id", host_id,
             "--enroll-key", key]
        )  # fmt: skip
        return JoinResponse(
            host_id=host_id, join_code=key, join_command=command, expires_at=expires_at
        )

    async def cancel_join(self, host_id: str) -> None:
        """Make a host's enroll keys useless; a host that never connected is forgotten."""
        known = await self._core.database.run(lambda db: table.cancel_join(db, host_id))
        if not known:
            raise not_found("host", host_id)

    async def enroll(self, key: str, host_id: str, host_name: str, host_type: str) -> str:
        """Trade an enroll key for a host key.

        Raises:
            ApiError: 401 for every reason there is to refuse.
        """
        host_key = mint_key("bbdh")

        def step(db: sqlite3.Connection) -> bool:
            return table.enroll_host(
                db,
                enroll_key=key,
                host_id=host_id,
                host_name=host_name,
                host_type=host_type,
                host_key=host_key,
                now=now_ms(),
            )

        if not await self._core.database.run(step, durable=True):
            raise unauthorized()
        return host_key

    async def authenticate(self, host_key: str) -> HostRecord:
        """Return the host a key belongs to.

        Raises:
            ApiError: 401, no host has this key, or no longer.
        """
        host = await self._core.read(lambda db: table.authenticate_host(db, host_key))
        if host is None:
            raise unauthorized()
        return host

    async def list(self) -> HostList:
        """Return all hosts."""
        rows = await self._core.read(table.list_hosts)
        return HostList(tuple(self._public(row) for row in rows))

    async def get(self, host_id: str) -> Host:
        """Return one host.

        Raises:
            ApiError: 404.
        """
        row = await self._core.read(lambda db: table.find_host(db, host_id))
        if row is None:
            raise not_found("host", host_id)
        return self._public(row)

    def _public(self, row: HostRecord) -> Host:
        connected = self._core.sessions.of_host(row.id) is not None
        return Host(
            id=row.id,
            name=row.name,
            type=row.type,
            status=HostStatus.CONNECTED if connected else HostStatus.DISCONNECTED,
            last_seen_at=row.last_seen_at,
            created_at=row.created_at,
            updated_at=row.updated_at,
            data_dir=row.data_dir,
        )


def choose_host(db: sqlite3.Connection, host_id: str | None) -> HostRecord:
    """Return the host asked for, or the only one there is.

    Raises:
        ApiError: 404 it is unknown; 400 none was named and there is not exactly one.
    """
    if host_id is not None:
        host = table.find_host(db, host_id)
        if host is None:
            raise not_found("host", host_id)
        return host
    hosts = table.list_hosts(db)
    if not hosts:
        raise ApiError(400, "host_required", "No host has joined this hub yet")
    if len(hosts) > 1:
        raise ApiError(400, "host_required", f"There are {len(hosts)} hosts; name one by hostId")
    return hosts[0]


def data_dir_of(host: HostRecord) -> str:
    """Return the host's data directory.

    Raises:
        ApiError: 503, no daemon of the host has ever connected, so it is not known.
    """
    if host.data_dir is None:
        raise ApiError(
            503,
            "host_disconnected",
            f"No daemon of host {HostId(host.id)!r} has connected yet; start it and try again",
            retryable=True,
        )
    return host.data_dir
