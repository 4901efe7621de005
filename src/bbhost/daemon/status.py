"""What the daemon says of itself."""

import os
from collections import Counter
from typing import Any

from bbhost import __version__
from bbhost.contract.version import PROTOCOL_VERSION
from bbhost.daemon.assembly import Parts
from bbhost.domain.environment import EnvironmentRecord, EnvironmentState
from bbhost.session.clock import wall_clock_ms
from bbhost.session.runner import Session


def describe_daemon(parts: Parts, session: Session) -> dict[str, Any]:
    """Describe the daemon in JSON-able values. Takes a moment, asks no disk."""
    status = session.status.value
    commands, reports = session.statistics()
    git = parts.git.statistics()
    cache = parts.supervisor.cache_statistics
    watch = parts.watches.statistics()
    processes = parts.keeper.statistics()
    records = parts.supervisor.records()
    return {
        "version": __version__,
        "protocolVersion": PROTOCOL_VERSION,
        "pid": os.getpid(),
        "uptimeMs": wall_clock_ms() - parts.started_at_ms,
        "dataDir": str(parts.data_dir),
        "serverUrl": parts.config.get("server_url"),
        "session": {
            "state": str(status.state),
            "sinceMs": status.since_ms,
            "failedAttempts": status.failed_attempts,
            "trouble": status.trouble,
        },
        "environments": Counter(str(record.state) for record in records),
        "environmentList": [
            _environment(parts, record)
            for record in records
            if record.state is not EnvironmentState.TOMBSTONED
        ],
        "terminals": len(parts.terminals.directory),
        "threads": dict(parts.threads.threads()),
        "commands": {
            "running": commands.running,
            "admitted": commands.admitted,
            "finished": commands.finished,
        },
        "results": {"delivered": reports.delivered, "stale": reports.stale},
        "git": {"processes": git.total, "byVerb": dict(git.processes)},
        "statusCache": {
            "hits": cache.hits,
            "misses": cache.misses,
            "checked": cache.checked,
            "differed": cache.differed,
        },
        "watch": {
            "backend": str(parts.watches.preferred),
            "instances": watch.instances,
            "kernelWatches": watch.kernel_watches,
            "budget": watch.budget,
            "overflows": watch.overflows,
            "unsettled": watch.running_tasks,
        },
        "processes": {
            "boundary": str(processes.backend),
            "boundaries": processes.boundaries,
            "children": processes.children,
            "orphansReaped": processes.orphans_reaped,
            "survivors": processes.survivors,
        },
    }


def _environment(parts: Parts, record: EnvironmentRecord) -> dict[str, Any]:
    actor = parts.supervisor.actor(record.environment_id)
    work = actor.ready_work if actor is not None else None
    stay = actor.stay if actor is not None else None
    trouble = actor.teardown.trouble if actor is not None else None
    return {
        "id": record.environment_id,
        "incarnation": record.incarnation,
        "state": str(record.state),
        "path": record.path,
        "kind": str(record.kind),
        "sinceMs": record.changed_at,
        "activities": list(stay.activities) if stay is not None else [],
        "watchTrouble": work.watch_trouble if work is not None else "",
        "teardownTrouble": trouble.message if trouble is not None else "",
        "detail": record.detail,
    }
