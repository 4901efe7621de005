"""The program on one page. The order of the ladder is the order of start; unwinding it is the stop."""

import logging
import uuid
from collections import Counter
from collections.abc import MutableMapping
from contextlib import AsyncExitStack

import trio

from bbhost.contract.messages import TerminalCloseReason
from bbhost.daemon.assembly import Parts, open_parts
from bbhost.daemon.config import Config
from bbhost.daemon.handlers import make_forerunners, make_handlers
from bbhost.daemon.local.api import LocalApi
from bbhost.daemon.local.http_server import Response
from bbhost.daemon.local.serving import (
    bind_local_port,
    port_of,
    serve_local_port,
    serve_locally,
)
from bbhost.daemon.lock import hold_lock
from bbhost.daemon.notices import Notices
from bbhost.daemon.notify import Notifier
from bbhost.daemon.publishing_commands import PublishingCommands
from bbhost.daemon.reloading import follow_reloads
from bbhost.daemon.restart.handing_over import HandOver
from bbhost.daemon.restart.taking_over import TakeOver
from bbhost.daemon.restart.unit import own_unit
from bbhost.daemon.stopping import StopRequest
from bbhost.daemon.tombstones import forget_for_ever
from bbhost.errors import BbhostError
from bbhost.session.connection import SessionSettings
from bbhost.session.enrolment import EnrolmentSettings, ensure_enrolled
from bbhost.session.host_name import detect_host_name
from bbhost.session.runner import Session, open_session
from bbhost.session.server_url import parse_server_url
from bbhost.terminals.shell import ShellSettings
from bbhost.toolkit.running import running
from bbhost.toolkit.tick import Tick
from bbhost.workspace.temporary_worktree import sweep_temporary_worktrees

log = logging.getLogger(__name__)

GUESTS_SECONDS = 0.6
"""For terminals and threads to say goodbye at stop."""
FLUSH_SECONDS = 0.3
LEAVE_SECONDS = 1.0
"""For both, and for the socket to be closed with a goodbye; after that it is cut. With ``drain_seconds`` and the
end of processes it is 5 s at most with a server that does not answer, and a tenth of that with one that does. (At
a restart under systemd, terminals are handed over in between: ``HAND_OVER_SECONDS`` more.)
What is not told by then is in the journal, and is told after the next start."""
END_PROCESSES_SECONDS = 2.0
"""Bound on ending what the environments started; needed in full only by processes that cannot be killed."""


async def run_daemon(
    config: Config,
    stop: StopRequest,
    reload: Tick | None = None,
    notifier: Notifier | None = None,
    descriptors: MutableMapping[str, int] | None = None,
) -> None:
    """Run until asked to stop or dismissed by the server.

    Args:
        reload: set when the configuration is to be read again.
        notifier: the service manager to be told; nobody where omitted.
        descriptors: what it had kept for us, by name; taken from here.

    Raises:
        BbhostError: it cannot start; the message says what to do.

    Cancellation: forced stop: nothing is drained, everything is in the journal.
    """
    url = parse_server_url(config.get("server_url"))
    with hold_lock(config.data_dir):
        local = bind_local_port(config)
        host_name = await detect_host_name(config.get("host_name"))
        identity = await ensure_enrolled(url, _enrolment(config, host_name))
        settings = SessionSettings(
            url,
            identity,
            host_name,
            config.data_dir,
            instance_id=str(uuid.uuid4()),
            reconnect_longest_seconds=config.get("reconnect_longest_seconds"),
            start_up_seconds=config.get("start_up_seconds"),
            reconnect_first_seconds=config.get("reconnect_seconds"),
        )
        async with AsyncExitStack() as ladder:
            if local is not None:
                await ladder.enter_async_context(local)
            port = None if local is None else port_of(local)
            shell = ShellSettings(url.text, port, config.get("cli_dir"))
            parts = await ladder.enter_async_context(open_parts(config, shell))
            notifier = notifier or Notifier()
            notices = Notices(notifier, parts, stop)
            await ladder.enter_async_context(running(notices.run))
            descriptors = {} if descriptors is None else descriptors
            take_over = TakeOver(parts, notifier, descriptors)
            hand_over = HandOver(parts, notifier, own_unit())
            session = await _climb(ladder, parts, settings, stop, take_over, hand_over)
            await ladder.enter_async_context(
                running(follow_reloads, parts, reload or Tick(), notices.notifier)
            )
            if local is not None:
                api = _local_api(parts, settings, port_of(local), session)
                await ladder.enter_async_context(running(serve_local_port, local, api))
            await _run_session(parts, session, stop, notices, hand_over)


async def _climb(
    ladder: AsyncExitStack,
    parts: Parts,
    settings: SessionSettings,
    stop: StopRequest,
    take_over: TakeOver,
    hand_over: HandOver,
) -> Session:
    """Start every service, lowest first; each is stopped after those above it."""
    await ladder.enter_async_context(running(parts.keeper.run))
    await take_over.prepare()
    await _sweep(parts)
    await take_over.settle()
    await ladder.enter_async_context(running(parts.processes.run))
    await ladder.enter_async_context(running(parts.watches.run))
    await ladder.enter_async_context(running(parts.lag.run))
    await ladder.enter_async_context(running(parts.journal_probe.run))
    await ladder.enter_async_context(running(_run_emptier, parts))
    ladder.push_async_callback(_end_processes, parts, hand_over)
    await ladder.enter_async_context(running(parts.supervisor.run))
    await parts.supervisor.restore(await parts.journal.environments())
    await ladder.enter_async_context(running(parts.terminals.run))
    await take_over.finish()
    await ladder.enter_async_context(running(parts.threads.run))
    await ladder.enter_async_context(running(parts.reconciler.run))
    await ladder.enter_async_context(running(_sweep_leftovers, parts))
    publishing = PublishingCommands(parts.supervisor, parts.workspaces, parts.journal)
    await publishing.forget_settled()
    session = await ladder.enter_async_context(
        open_session(
            settings,
            parts.journal,
            parts.hooks,
            make_handlers(parts, publishing, lambda event: session.events.publish(event)),
            while_waiting=make_forerunners(parts),
            poll_seconds=parts.config.get("poll_seconds"),
        )
    )
    parts.link.attach(session)
    await ladder.enter_async_context(running(parts.storage_watch.run))
    await ladder.enter_async_context(running(serve_locally, parts, session, stop))
    return session


async def _run_session(
    parts: Parts, session: Session, stop: StopRequest, notices: Notices, hand_over: HandOver
) -> None:
    """Hold the session until the end, then leave it in good order."""
    failures: list[BbhostError] = []
    left = trio.Event()

    async def run() -> None:
        try:
            await session.run()
        except BbhostError as error:
            failures.append(error)
            stop.set("the session could not be started")
        finally:
            left.set()

    async def wait_dismissed() -> None:
        end = await session.wait_dismissed()
        stop.set(f"the server dismissed this daemon: {end.cause}")

    async with trio.open_nursery() as link:
        link.start_soon(run)
        link.start_soon(wait_dismissed)
        link.start_soon(notices.tell_ready, session)
        await stop.event.wait()
        log.info("stopping: %s", stop.reason)
        if not failures:
            await _drain(parts, session, hand_over)
            with trio.move_on_after(LEAVE_SECONDS):
                await _say_goodbye(parts, session)
                await left.wait()
        link.cancel_scope.cancel(reason="the daemon stops")
    if failures:
        raise failures[0]


async def _drain(parts: Parts, session: Session, hand_over: HandOver) -> None:
    report = await session.drain(parts.config.get("drain_seconds"))
    log.info("drained", extra={"commands_left": report.commands, "events_left": report.events})
    await hand_over.run()


async def _say_goodbye(parts: Parts, session: Session) -> None:
    try:
        with trio.move_on_after(GUESTS_SECONDS):
            async with trio.open_nursery() as guests:
                guests.start_soon(parts.threads.stop_all)
                guests.start_soon(
                    parts.terminals.directory.close_all, TerminalCloseReason.DAEMON_DISCONNECT
                )
        await session.flush(FLUSH_SECONDS)
    finally:
        session.close()


async def _sweep(parts: Parts) -> None:
    """End what a killed daemon left behind, before anything new is started."""
    report = await parts.keeper.sweep(await parts.journal.processes())
    if report.ended or report.survivors:
        log.warning(
            "ended processes of an earlier daemon",
            extra={"ended": len(report.ended), "survivors": len(report.survivors)},
        )
    await parts.processes.forget_all()
    await sweep_temporary_worktrees(parts.tools)


async def _sweep_leftovers(
    parts: Parts, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Remove what tombstones say is gone, then forget old ones; beside everything else, for it takes its time."""
    task_status.started()
    try:
        items = await parts.collector().sweep()
    except (BbhostError, OSError) as error:
        log.warning("leftovers could not be swept: %s", error)
    else:
        if items:
            outcomes = Counter(str(item.outcome) for item in items)
            log.info(
                "swept leftovers of destroyed environments", extra={"outcomes": dict(outcomes)}
            )
            parts.emptier.wake()
    # Only now: what was swept was found by its tombstone.
    await forget_for_ever(parts.supervisor, parts.tools)


async def _end_processes(parts: Parts, hand_over: HandOver) -> None:
    """Nothing that was started in an environment outlives the daemon, unless it was handed over."""
    with trio.move_on_after(END_PROCESSES_SECONDS, shield=True):
        async with trio.open_nursery() as ending:
            for boundary in parts.keeper.boundaries:
                shells = hand_over.shells_of(boundary)
                if shells:
                    ending.start_soon(boundary.end_others, shells, 0.5)
                else:
                    ending.start_soon(boundary.end, 0.5)


async def _run_emptier(parts: Parts, task_status: trio.TaskStatus[None]) -> None:
    task_status.started()
    await parts.emptier.run()


def _local_api(parts: Parts, settings: SessionSettings, port: int, session: Session) -> LocalApi:
    config = parts.config

    def metrics() -> Response:
        from bbhost.daemon.metrics import metrics_response

        return metrics_response(parts)

    return LocalApi(
        settings.identity.host_id,
        settings.url,
        port,
        lambda: session.status.value,
        config.get("app_url"),
        config.get("dev_app_port"),
        metrics if config.get("local_metrics") else None,
    )


def _enrolment(config: Config, host_name: str) -> EnrolmentSettings:
    return EnrolmentSettings(
        config.data_dir,
        host_name,
        config.get("enroll_key"),
        config.get("host_id"),
        config.get("host_type"),
    )
