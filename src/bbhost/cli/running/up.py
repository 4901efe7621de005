"""``bbhost up``: a hub in this process and a daemon beside it, until Ctrl-C."""

import errno
import os
from pathlib import Path

import trio
from attrs import frozen

from bbhost.cli.client import HubClient, open_client, segment
from bbhost.cli.hosts import wait_host_connected
from bbhost.cli.hub_file import remove_hub_file
from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.cli.place import Server
from bbhost.cli.running.daemon_child import DaemonChild
from bbhost.cli.running.hub import announce, hub_config
from bbhost.cli.running.signals import cancel_on_signal
from bbhost.daemon.config import Config
from bbhost.daemon.local.socket_path import control_socket_path
from bbhost.daemon.lock import AlreadyRunningError, lock_owner
from bbhost.hub.api.hosts import Host, JoinRequest, JoinResponse
from bbhost.hub.run import HubAddress, run_hub

CONNECT_SECONDS = 60.0
"""For the daemon to connect after its start; a busy machine and a long journal take their time."""
AUTH_FILE = "auth.json"
HOST_ID_FILE = "host-id"


@frozen
class Running:
    """What is up."""

    url: str
    host_id: str
    data_dir: Path
    token_file: Path
    control_socket: Path
    daemon_pid: int | None
    log: Path | None


@frozen
class UpSettings:
    """How to run."""

    config: Config
    host: str
    port: int
    log: Path | None
    """Where the daemon logs to; None: to our standard error."""

    @property
    def data_dir(self) -> Path:
        """The daemon's; the hub's is below it."""
        return self.config.data_dir


async def run_up(
    settings: UpSettings, task_status: trio.TaskStatus[Running] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run hub and daemon until SIGINT or SIGTERM, or until the daemon ends; then stop both.

    Raises:
        CommandError: one of them cannot be started, or the daemon crashes again and again.

    Cancellation: the same orderly stop, daemon first.
    """
    data_dir = settings.data_dir
    owner = lock_owner(data_dir)
    if owner is not None:
        raise AlreadyRunningError(
            f"A daemon (pid {owner}) already owns {data_dir}; 'bbhost stop' ends it, "
            "or choose another --data-dir"
        )
    hub = hub_config(data_dir, settings.host, settings.port)
    async with trio.open_nursery() as signals:
        await signals.start(cancel_on_signal, signals.cancel_scope)
        async with trio.open_nursery() as serving:
            address: HubAddress = await _start_hub(serving, settings)
            server = Server(address.url, address.token)
            try:
                async with open_client(server) as client:
                    enrolment = await _enrolment(client, data_dir)
                    host_id = enrolment["BBHOST_HOST_ID"]
                    announce(data_dir, hub, address, host_id, os.getpid())
                    child = _make_child(settings, address, enrolment)
                    # A nursery of its own: the daemon says good-bye to a hub that still serves.
                    async with trio.open_nursery() as daemons:
                        await daemons.start(child.run)
                        daemons.start_soon(_cancel_after, child, daemons.cancel_scope)
                        with trio.move_on_after(CONNECT_SECONDS) as patience:
                            await wait_host_connected(client, host_id)
                        if patience.cancelled_caught:
                            raise CommandError(
                                Outcome.TIMEOUT,
                                f"The daemon did not connect within {CONNECT_SECONDS:.0f} s"
                                + (f"; see {settings.log}" if settings.log else ""),
                            )
                        task_status.started(
                            Running(
                                url=address.url,
                                host_id=host_id,
                                data_dir=data_dir,
                                token_file=hub.token_path,
                                control_socket=control_socket_path(settings.config),
                                daemon_pid=child.pid,
                                log=settings.log,
                            )
                        )
            finally:
                remove_hub_file(data_dir, os.getpid())
            serving.cancel_scope.cancel(reason="the daemon has ended")
        signals.cancel_scope.cancel(reason="the daemon has ended")


async def _cancel_after(child: DaemonChild, everything: trio.CancelScope) -> None:
    await child.ended.wait()
    everything.cancel(reason="the daemon ended by itself")


async def _start_hub(serving: trio.Nursery, settings: UpSettings) -> HubAddress:
    try:
        address: HubAddress = await serving.start(
            run_hub, hub_config(settings.data_dir, settings.host, settings.port)
        )
    except OSError as error:
        if error.errno not in {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES}:
            raise
        raise CommandError(
            Outcome.FAILED,
            f"The hub cannot listen on {settings.host}:{settings.port}: {error.strerror}; "
            "choose another --port (0 picks a free one)",
        ) from error
    return address


def _make_child(
    settings: UpSettings, address: HubAddress, enrolment: dict[str, str]
) -> DaemonChild:
    arguments = ["--server-url", address.url, "--data-dir", str(settings.data_dir)]
    if settings.log is not None and not settings.config.get("log_file"):
        arguments += ["--log-file", str(settings.log)]
    # Keys go by the environment: arguments can be read by every user of the machine.
    return DaemonChild(arguments, settings.log, environ=enrolment)


async def _enrolment(client: HubClient, data_dir: Path) -> dict[str, str]:
    """Return what the daemon needs to know of its host; a key where it never was enrolled."""
    host_id = _read_host_id(data_dir)
    if host_id is None:
        joined = await client.post(JoinResponse, "/hosts/join", JoinRequest())
        return {"BBHOST_HOST_ID": joined.host_id, "BBHOST_ENROLL_KEY": joined.join_code}
    try:
        await client.get(Host, f"/hosts/{segment(host_id)}")
    except CommandError as error:
        if error.outcome is not Outcome.NOT_FOUND:
            raise
        raise CommandError(
            Outcome.CONFIGURATION,
            f"{data_dir} belongs to host {host_id!r} of another server; choose another --data-dir, "
            "or run 'bbhost daemon' to connect to that server",
        ) from error
    return {"BBHOST_HOST_ID": host_id}


def _read_host_id(data_dir: Path) -> str | None:
    if not (data_dir / AUTH_FILE).exists():
        return None
    try:
        return (data_dir / HOST_ID_FILE).read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None
