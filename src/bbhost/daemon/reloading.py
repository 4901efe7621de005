"""Reading the configuration again while the daemon runs. Some values can change; the others are named."""

import logging
from typing import Any

import trio
from attrs import evolve, frozen

from bbhost.daemon.assembly import Parts
from bbhost.daemon.config import Config, load_config
from bbhost.daemon.logs import set_log_level
from bbhost.daemon.notify import Notifier
from bbhost.errors import ConfigError
from bbhost.toolkit.tick import Tick
from bbhost.workspace.git import GIT_PROCESSES_AT_ONCE
from bbhost.workspace.saved_files import SaveLimits

log = logging.getLogger(__name__)

RELOADABLE = frozenset(
    {"log_level", "git_processes", "paranoid_sample", "rescue_max_mib", "drain_seconds"}
)
"""Settings that take effect at once; the others want a restart."""


@frozen
class ReloadReport:
    """What a reload came to."""

    applied: tuple[str, ...] = ()
    """Settings that have changed, and are in force."""
    needs_restart: tuple[str, ...] = ()
    """Settings that have changed, and are not."""
    error: str = ""
    """Why nothing was changed; empty when it went well."""

    def to_json(self) -> dict[str, Any]:
        """Values for a JSON document."""
        return {
            "applied": list(self.applied),
            "needsRestart": list(self.needs_restart),
            "error": self.error,
        }


async def reload_configuration(parts: Parts) -> ReloadReport:
    """Read the configuration from where it came from, and apply what can be applied.

    A configuration that cannot be understood changes nothing.
    """
    old = parts.config
    try:
        new = await trio.to_thread.run_sync(lambda: load_config(old.flags, file=old.file))
    except ConfigError as error:
        log.error("the configuration stays as it was: %s", error.message)
        return ReloadReport(error=error.message)
    changed = [name for name in new.values if new.get(name) != old.get(name)]
    applied = tuple(name for name in changed if name in RELOADABLE)
    needs_restart = tuple(name for name in changed if name not in RELOADABLE)
    if new.providers != old.providers:
        needs_restart = (*needs_restart, "providers")
    values = {**old.values, **{name: new.values[name] for name in applied}}
    parts.config = evolve(old, values=values)
    _apply(parts, parts.config)
    log.info(
        "configuration read again",
        extra={"applied": list(applied), "needs_restart": list(needs_restart)},
    )
    return ReloadReport(applied, needs_restart)


def _apply(parts: Parts, config: Config) -> None:
    set_log_level(config.get("log_level"))
    parts.git.set_processes_at_once(config.get("git_processes") or GIT_PROCESSES_AT_ONCE)
    parts.supervisor.cache_statistics.paranoid_sample = config.get("paranoid_sample")
    parts.workspaces.save_limits = SaveLimits(max_bytes=config.get("rescue_max_mib") * 1024 * 1024)


async def follow_reloads(
    parts: Parts,
    asked: Tick,
    notifier: Notifier,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Reload whenever asked (SIGHUP) until cancelled, and tell the service manager."""
    task_status.started()
    while True:
        await asked.wait()
        notifier.reloading()
        report = await reload_configuration(parts)
        notifier.ready()
        if report.error:
            notifier.status(f"reload refused: {report.error}")
