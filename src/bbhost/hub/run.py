"""Running a hub: open what it remembers, listen, serve, and stop within two seconds.

The order of the ``async with`` ladder is the start-up order, its unwinding the stop. Everything that
serves runs in a shielded scope of its own, so that a cancelled hub can still say good-bye to its
sockets; that scope gets a deadline the moment the stop begins.
"""

import ipaddress
import logging

import trio
from attrs import frozen

from bbhost.errors import ConfigError
from bbhost.hub.config import HubConfig
from bbhost.hub.http.access import make_policy
from bbhost.hub.http.app import make_app
from bbhost.hub.http.connections import Connections
from bbhost.hub.services.assembly import Services, assemble
from bbhost.hub.services.outbox import CLOSE_GOING_AWAY
from bbhost.hub.services.sweeper import run_sweeper
from bbhost.hub.storage.database import open_database
from bbhost.hub.tokens import load_or_create_token
from bbhost.toolkit.private_directory import make_private_directory

GOODBYE_SECONDS = 0.5
"""How long sockets may take to close once the hub stops."""
STOP_SECONDS = 1.5
"""How long a stop may take in all; then what is left is dropped."""
BACKLOG = 128
logger = logging.getLogger(__name__)


@frozen
class HubAddress:
    """Where a running hub is."""

    host: str
    port: int
    url: str
    """``http://host:port``, without a trailing slash."""
    token: str | None
    """The access token; None where none is asked for."""


async def run_hub(
    config: HubConfig,
    *,
    task_status: trio.TaskStatus[HubAddress] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; ``started`` carries the address once the hub listens.

    Raises:
        ConfigError: not a loopback address and no token; a token file that others can read.
        HubDatabaseError: the database cannot be used; it is left as it is.
        OSError: the address is taken or not ours.

    Cancellation: sockets are closed with 1001, requests under way are dropped; at most 2 s.
    """
    _check_exposure(config)
    await trio.to_thread.run_sync(make_private_directory, config.data_dir)
    token = None
    if config.require_token:
        token = await trio.to_thread.run_sync(load_or_create_token, config.token_path)
    async with open_database(config.database_path) as database:
        listener = await _listen(config)
        async with listener:
            address = _address(config, listener, token)
            services = assemble(config, database, address.url)
            policy = make_policy(
                token=token,
                port=address.port,
                extra_hosts=(*config.allowed_hosts, *_own_name(config.host, address.port)),
                extra_origins=config.allowed_origins,
            )
            connections = Connections(make_app(services, policy), config)
            stop = trio.Event()
            async with trio.open_nursery() as nursery:
                await nursery.start(_serve, services, connections, listener, stop)
                logger.info("the hub listens on %s", address.url)
                task_status.started(address)
                try:
                    await trio.sleep_forever()
                finally:
                    stop.set()


async def _serve(
    services: Services,
    connections: Connections,
    listener: trio.SocketListener,
    stop: trio.Event,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    """Serve until ``stop``; then close the sockets and end, within ``STOP_SECONDS``."""
    # Shielded from the cancellation that stops the hub; ``stop`` gives the shield its deadline.
    with trio.CancelScope(shield=True) as serving:
        async with trio.open_nursery() as nursery:
            await nursery.start(connections.run, [listener])
            nursery.start_soon(run_sweeper, services)
            task_status.started()
            await stop.wait()
            serving.deadline = trio.current_time() + STOP_SECONDS
            services.finish_sockets(CLOSE_GOING_AWAY, "server-shutdown")
            with trio.move_on_after(GOODBYE_SECONDS):
                await connections.wait_websockets_closed()
            connections.abort()
            nursery.cancel_scope.cancel("the hub stops")


async def _listen(config: HubConfig) -> trio.SocketListener:
    listeners = await trio.open_tcp_listeners(config.port, host=config.host, backlog=BACKLOG)
    # A name may stand for several addresses; with a free port they would differ, so one serves.
    for spare in listeners[1:]:
        await trio.aclose_forcefully(spare)
    return listeners[0]


def _address(config: HubConfig, listener: trio.SocketListener, token: str | None) -> HubAddress:
    host, port = listener.socket.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    if ipaddress.ip_address(host).is_unspecified:
        shown = "127.0.0.1"
    return HubAddress(host, port, f"http://{shown}:{port}", token)


def _own_name(host: str, port: int) -> tuple[str, ...]:
    """Return what a ``Host`` header says of this hub, unless it listens on every address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return (f"{host}:{port}",)
    if address.is_unspecified:
        return ()
    return (f"[{host}]:{port}" if address.version == 6 else f"{host}:{port}",)


def _check_exposure(config: HubConfig) -> None:
    if config.require_token or _is_loopback(config.host):
        return
    raise ConfigError(
        f"{config.host} can be reached by other machines; the hub does not listen there without a"
        " token"
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
