"""What can be counted, in the text format of Prometheus. Base units; no label names an environment."""

import os
import resource
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from bbhost import __version__
from bbhost.daemon.assembly import Parts
from bbhost.daemon.local.http_server import Response
from bbhost.domain.environment import EnvironmentState
from bbhost.lifecycle.session import SessionState
from bbhost.toolkit.histogram import Histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_STARTED = time.time()

Labels = Mapping[str, str]
Sample = tuple[Labels, float]
_NONE: Labels = {}


def metrics_response(parts: Parts) -> Response:
    """Return all metrics as an HTTP answer."""
    return Response(200, render_metrics(parts).encode(), CONTENT_TYPE)


def render_metrics(parts: Parts) -> str:
    """Return all metrics of a daemon. Takes a moment; asks ``/proc`` but no disk."""
    watch = parts.watches.statistics()
    processes = parts.keeper.statistics()
    git = parts.git.statistics()
    cache = parts.supervisor.cache_statistics
    journal = parts.journal.statistics()
    states = Counter(str(record.state) for record in parts.supervisor.records())
    session = parts.link.session
    connected = session is not None and session.status.value.state is SessionState.OPEN
    lines: list[str] = []

    def add(name: str, kind: str, help_text: str, samples: Iterable[Sample]) -> None:
        lines.extend(_family(name, kind, help_text, samples))

    def gauge(name: str, help_text: str, value: float) -> None:
        add(name, "gauge", help_text, [(_NONE, value)])

    def count(name: str, help_text: str, value: float) -> None:
        add(name, "counter", help_text, [(_NONE, value)])

    add("bbhost_build_info", "gauge", "The version that runs.", [({"version": __version__}, 1)])
    add(
        "bbhost_environments",
        "gauge",
        "Environments on record by state.",
        [({"state": str(state)}, states[str(state)]) for state in EnvironmentState],
    )
    add(
        "bbhost_transitions_total",
        "counter",
        "Transitions of environments; the outcome is the event that led to them.",
        [
            ({"from": source, "to": target, "outcome": event}, number)
            for (source, target, event), number in sorted(parts.transitions.items())
        ],
    )
    lines.extend(_git_seconds(git.seconds))
    gauge("bbhost_git_processes_running", "Git children that run now.", git.running)
    gauge("bbhost_git_processes_waiting", "Calls that wait for a git slot.", git.waiting)
    gauge("bbhost_inotify_instances", "Inotify instances of the daemon.", watch.instances)
    gauge("bbhost_inotify_watches", "Inotify watches of the daemon.", watch.kernel_watches)
    gauge("bbhost_inotify_watch_budget", "Watches that it will use at most.", watch.budget)
    count("bbhost_inotify_overflows_total", "Overflows of the kernel's queue.", watch.overflows)
    count("bbhost_orphans_reaped_total", "Adopted orphans reaped.", processes.orphans_reaped)
    count("bbhost_processes_ended_total", "Processes ended with their boundary.", processes.ended)
    count(
        "bbhost_process_survivors_total", "Processes that could not be ended.", processes.survivors
    )
    gauge("bbhost_process_boundaries", "Open process boundaries.", processes.boundaries)
    gauge(
        "bbhost_children", "Children of the daemon that have not been reaped.", processes.children
    )
    count("bbhost_status_cache_hits_total", "Statuses answered without git.", cache.hits)
    count("bbhost_status_cache_misses_total", "Statuses computed with git.", cache.misses)
    count("bbhost_journal_writes_total", "Pieces of work done by the journal.", journal.jobs)
    count(
        "bbhost_journal_transactions_total", "Transactions of the journal.", journal.transactions
    )
    gauge("bbhost_terminals", "Open terminals.", len(parts.terminals.directory))
    gauge("bbhost_server_connected", "1 while a session with the server is open.", int(connected))
    if session is not None:
        commands, reports = session.statistics()
        gauge("bbhost_commands_running", "Commands that run now.", commands.running)
        count("bbhost_commands_finished_total", "Commands that have a result.", commands.finished)
        count("bbhost_results_delivered_total", "Results the server took.", reports.delivered)
    gauge(
        "bbhost_loop_lag_seconds",
        "Lateness of the event loop, worst of the last minute.",
        parts.lag.worst_seconds,
    )
    for name, kind, help_text, value in _process():
        add(name, kind, help_text, [(_NONE, value)])
    return "\n".join(lines) + "\n"


def _git_seconds(by_verb: Mapping[str, Histogram]) -> list[str]:
    name = "bbhost_git_seconds"
    lines = [f"# HELP {name} How long git children ran.", f"# TYPE {name} histogram"]
    for verb, histogram in sorted(by_verb.items()):
        for bound, number in histogram.cumulative():
            lines.append(_sample(f"{name}_bucket", {"verb": verb, "le": f"{bound:g}"}, number))
        lines.append(_sample(f"{name}_bucket", {"verb": verb, "le": "+Inf"}, histogram.count))
        lines.append(_sample(f"{name}_sum", {"verb": verb}, histogram.total))
        lines.append(_sample(f"{name}_count", {"verb": verb}, histogram.count))
    return lines


def _process() -> Iterable[tuple[str, str, str, float]]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    seconds = usage.ru_utime + usage.ru_stime
    yield "process_cpu_seconds_total", "counter", "CPU time of the daemon itself.", seconds
    yield "process_start_time_seconds", "gauge", "When the daemon was started.", _STARTED
    with suppress(OSError, ValueError):
        open_fds = len(list(Path("/proc/self/fd").iterdir()))
        yield "process_open_fds", "gauge", "Open file descriptors.", open_fds
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield "process_max_fds", "gauge", "Limit of open file descriptors.", soft
    yield (
        "process_resident_memory_bytes",
        "gauge",
        "Memory in use.",
        _resident_bytes(usage.ru_maxrss),
    )


def _resident_bytes(most: int) -> int:
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    unit = 1 if os.uname().sysname == "Darwin" else 1024
    return most * unit


def _family(name: str, kind: str, help_text: str, samples: Iterable[Sample]) -> list[str]:
    head = [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]
    return [*head, *(_sample(name, labels, value) for labels, value in samples)]


def _sample(name: str, labels: Labels, value: float) -> str:
    shown = ",".join(f'{label}="{_escape(text)}"' for label, text in labels.items())
    number = f"{value:.6f}".rstrip("0").rstrip(".")
    return f"{name}{{{shown}}} {number}" if shown else f"{name} {number}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
