"""Installing, removing and asking after the service. Every step can be repeated."""

# Only the command line runs this, one step after the other: nobody else waits for its files.
# ruff: noqa: ASYNC240

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import trio
from attrs import frozen

from bbhost.daemon.service import launchd, systemd
from bbhost.daemon.service.plan import ServiceError, ServiceKind, ServicePlan
from bbhost.processes.child import Completed, run_child
from bbhost.processes.environ import child_environ
from bbhost.toolkit.private_directory import make_private_directory

COMMAND_SECONDS = 120.0
"""Most that one command of the service manager may take; a start may wait for the server."""
GONE_SECONDS = 45.0
"""Most that is waited for launchd to have removed a service: it says yes before it has done so."""
OUTPUT_LIMIT = 1024 * 1024


class InstallOutcome(StrEnum):
    """What installing came to."""

    INSTALLED = "installed"
    UPDATED = "updated"
    """The definition has changed; the service was started again with it."""
    UNCHANGED = "unchanged"
    DRY_RUN = "dry_run"


class UninstallOutcome(StrEnum):
    """What removing came to."""

    REMOVED = "removed"
    NOT_INSTALLED = "not_installed"


class ServiceState(StrEnum):
    """How the service is."""

    NOT_INSTALLED = "not_installed"
    RUNNING = "running"
    STARTING = "starting"
    STOPPED = "stopped"
    FAILED = "failed"


@frozen
class InstallReport:
    """What was installed, and what is left to do."""

    outcome: InstallOutcome
    path: Path
    text: str
    hints: tuple[str, ...] = ()


@frozen
class ServiceStatus:
    """What the service manager says."""

    state: ServiceState
    path: Path
    detail: str = ""
    pid: int | None = None
    status_text: str = ""
    """What the daemon has told the service manager in one line."""
    restarts: int | None = None


async def install(plan: ServicePlan, *, dry_run: bool = False) -> InstallReport:
    """Write the definition and start the service; one that runs with another definition is restarted.

    Raises:
        ServiceError: the service manager is not there or refuses.
        OSError: the definition cannot be written.
    """
    path, content = await _definition(plan)
    text = content.decode("utf-8")
    if dry_run:
        return InstallReport(InstallOutcome.DRY_RUN, path, text, _hints(plan))
    before = path.read_bytes() if path.exists() else None
    if plan.kind is ServiceKind.LAUNCHD:
        make_private_directory(launchd.log_directory(plan))
    if before != content:
        _write(path, content)
    if plan.kind is ServiceKind.LAUNCHD:
        await _load(plan, path, changed=before != content)
    else:
        await _run(systemd.systemctl(plan, "daemon-reload"))
        await _run(systemd.systemctl(plan, "enable", systemd.unit_name(plan)))
        # "restart" also starts; a service that runs unchanged is left alone.
        verb = "start" if before == content else "restart"
        await _run(systemd.systemctl(plan, verb, systemd.unit_name(plan)))
    if before is None:
        outcome = InstallOutcome.INSTALLED
    else:
        outcome = InstallOutcome.UNCHANGED if before == content else InstallOutcome.UPDATED
    return InstallReport(outcome, path, text, _hints(plan))


async def uninstall(plan: ServicePlan) -> UninstallOutcome:
    """Stop the service and remove its definition. The data directory stays as it is.

    Raises:
        ServiceError: the service manager refuses.
    """
    path = definition_path(plan)
    if plan.kind is ServiceKind.LAUNCHD:
        await _unload(plan)
    elif path.exists():
        await _run(systemd.systemctl(plan, "disable", "--now", systemd.unit_name(plan)))
    if not path.exists():
        return UninstallOutcome.NOT_INSTALLED
    path.unlink()
    if plan.kind is not ServiceKind.LAUNCHD:
        await _run(systemd.systemctl(plan, "daemon-reload"))
        await _ask(systemd.systemctl(plan, "reset-failed", systemd.unit_name(plan)))
    return UninstallOutcome.REMOVED


async def read_status(plan: ServicePlan) -> ServiceStatus:
    """Ask the service manager.

    Raises:
        ServiceError: it is not there.
    """
    path = definition_path(plan)
    if plan.kind is ServiceKind.LAUNCHD:
        return await _launchd_status(plan, path)
    names = "LoadState,ActiveState,SubState,MainPID,StatusText,NRestarts,Result"
    shown = await _run(
        systemd.systemctl(plan, "show", f"--property={names}", systemd.unit_name(plan))
    )
    facts = dict(line.split("=", 1) for line in _text(shown).splitlines() if "=" in line)
    states = {
        "active": ServiceState.RUNNING,
        "reloading": ServiceState.RUNNING,
        "activating": ServiceState.STARTING,
        "failed": ServiceState.FAILED,
    }
    state = states.get(facts.get("ActiveState", ""), ServiceState.STOPPED)
    if not path.exists():
        state = ServiceState.NOT_INSTALLED
    return ServiceStatus(
        state,
        path,
        f"{facts.get('ActiveState')} ({facts.get('SubState')}), last result {facts.get('Result')}",
        _number(facts.get("MainPID", "")) or None,
        facts.get("StatusText", ""),
        _number(facts.get("NRestarts", "")),
    )


async def show_logs(
    plan: ServicePlan,
    on_output: Callable[[bytes], None],
    *,
    lines: int = 100,
    follow: bool = False,
) -> None:
    """Hand the log to ``on_output``, piece by piece; with ``follow`` until cancelled.

    Raises:
        ServiceError: there is no log.
    """
    if plan.kind is ServiceKind.LAUNCHD:
        command = ["tail", "-n", str(lines), *(["-F"] if follow else [])]
        command += launchd.log_flags(plan)[1:] or [_given_log_file(plan)]
    else:
        command = systemd.journalctl(plan, lines, follow)
    try:
        done = await run_child(
            command, cwd="/", env=child_environ(), stdout_limit=0, on_output=on_output
        )
    except OSError as error:
        raise ServiceError(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        raise ServiceError(_text_of_error(done) or f"{command[0]} failed")


def definition_path(plan: ServicePlan) -> Path:
    """Return where the definition belongs."""
    if plan.kind is ServiceKind.LAUNCHD:
        return launchd.plist_path(plan)
    return systemd.unit_path(plan)


async def _definition(plan: ServicePlan) -> tuple[Path, bytes]:
    if plan.kind is ServiceKind.LAUNCHD:
        return definition_path(plan), launchd.render_plist(plan)
    version = systemd.parse_version(_text(await _run(["systemctl", "--version"])))
    return definition_path(plan), systemd.render_unit(plan, version).encode("utf-8")


def _hints(plan: ServicePlan) -> tuple[str, ...]:
    if plan.kind is ServiceKind.SYSTEMD_USER and not systemd.lingers(plan.user):
        return (
            f"the service ends when {plan.user} logs out; to keep it: loginctl enable-linger {plan.user}",
        )
    return ()


def _write(path: Path, content: bytes) -> None:
    """Write whole or not at all; the service manager may read it at any time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    new.chmod(0o644)
    new.replace(path)


# --- launchd ------------------------------------------------------------------------------------


async def _load(plan: ServicePlan, path: Path, *, changed: bool) -> None:
    if await _is_loaded(plan):
        if not changed:
            return
        await _unload(plan)
    # RunAtLoad starts it. "kickstart -k" on top of that would kill what has just been started.
    await _run(["launchctl", "enable", launchd.target(plan)])
    await _run(["launchctl", "bootstrap", launchd.domain(), str(path)])


async def _unload(plan: ServicePlan) -> None:
    if not await _is_loaded(plan):
        return
    # It may say that the operation is in progress (36), and goes on after it has answered.
    await _ask(["launchctl", "bootout", launchd.target(plan)])
    with trio.move_on_after(GONE_SECONDS):
        # There is no event for it that another process could wait for.
        while await _is_loaded(plan):  # noqa: ASYNC110
            await trio.sleep(0.2)
        return
    raise ServiceError(f"launchd has not removed {launchd.target(plan)} within {GONE_SECONDS:g} s")


async def _is_loaded(plan: ServicePlan) -> bool:
    return (await _ask(["launchctl", "print", launchd.target(plan)])).returncode == 0


async def _launchd_status(plan: ServicePlan, path: Path) -> ServiceStatus:
    shown = await _ask(["launchctl", "print", launchd.target(plan)])
    facts = {}
    for line in _text(shown).splitlines():
        name, found, value = line.strip().partition(" = ")
        if found and name not in facts:
            facts[name] = value
    if not path.exists():
        return ServiceStatus(ServiceState.NOT_INSTALLED, path)
    if shown.returncode:
        return ServiceStatus(ServiceState.STOPPED, path, "not loaded")
    pid = _number(facts.get("pid", ""))
    failed = facts.get("last exit code", "0").split(":")[0] not in {"0", "(never exited)"}
    state = ServiceState.RUNNING if pid else ServiceState.STOPPED
    if not pid and failed:
        state = ServiceState.FAILED
    detail = f"{facts.get('state', '')}, last exit code {facts.get('last exit code', 'none')}"
    return ServiceStatus(state, path, detail, pid or None, restarts=_number(facts.get("runs", "")))


def _given_log_file(plan: ServicePlan) -> str:
    return plan.command[plan.command.index("--log-file") + 1]


# --- commands -----------------------------------------------------------------------------------


async def _run(command: list[str]) -> Completed:
    done = await _ask(command)
    if done.returncode:
        reason = _text_of_error(done) or f"exit status {done.returncode}"
        raise ServiceError(f"{' '.join(command)} failed: {reason}")
    return done


async def _ask(command: list[str]) -> Completed:
    with trio.move_on_after(COMMAND_SECONDS):
        try:
            return await run_child(
                command, cwd="/", env=child_environ(), stdout_limit=OUTPUT_LIMIT
            )
        except OSError as error:
            raise ServiceError(f"{command[0]} cannot be run: {error.strerror}") from error
    raise ServiceError(f"{' '.join(command)} did not end within {COMMAND_SECONDS:g} s")


def _text(done: Completed) -> str:
    return done.stdout.decode("utf-8", "replace")


def _text_of_error(done: Completed) -> str:
    return done.stderr.decode("utf-8", "replace").strip()


def _number(text: str) -> int:
    return int(text) if text.strip().isdigit() else 0
