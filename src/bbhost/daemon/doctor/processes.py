"""Every process that carries our mark must be in a live boundary."""

import os
from collections.abc import Mapping

import trio
from attrs import frozen

from bbhost.daemon.doctor.finding import Finding, error, info, ok, warning
from bbhost.daemon.doctor.subject import LOOK_AGAIN_SECONDS, Subject
from bbhost.processes.environ import MARKER_VARIABLE
from bbhost.processes.lineage_tag import is_tag, tag_data_id, tags_available
from bbhost.processes.marker import data_directory_id, parse_markers
from bbhost.processes.proc import ProcessIdentity
from bbhost.processes.records import Backend
from bbhost.processes.table import ProcessTable, system_table
from bbhost.toolkit.counted import counted

CHECK = "processes"


@frozen
class _Live:
    """How processes of live boundaries are told."""

    markers: frozenset[str]
    tags: frozenset[int]


async def check_processes(subject: Subject) -> list[Finding]:
    """Look for processes of ours that no live environment has."""
    strays = dict(await subject.look(_find_strays, subject, _live(subject)))
    if strays:
        await trio.sleep(LOOK_AGAIN_SECONDS)
        again = await subject.look(_find_strays, subject, _live(subject))
        strays = {identity: line for identity, line in strays.items() if identity in again}
    findings = []
    if strays and subject.parts is None and subject.owner_pid is not None:
        findings.append(
            info(
                CHECK,
                counted(len(strays), "process carries", "processes carry")
                + " our mark; only the daemon knows which are live",
            )
        )
    elif strays:
        pids = " ".join(str(identity.pid) for identity in strays)
        findings.append(
            error(
                CHECK,
                counted(
                    len(strays),
                    "process carries our mark and is",
                    "processes carry our mark and are",
                )
                + " in no live environment",
                list(strays.values()),
                f"restart the daemon, which ends them, or: kill {pids}",
            )
        )
    findings += _survivors(subject)
    return findings or [ok(CHECK, "every process with our mark is in a live environment")]


def _live(subject: Subject) -> _Live:
    if subject.parts is None:
        return _Live(frozenset(), frozenset())
    boundaries = subject.parts.keeper.boundaries
    live = {record.environment_id for record in subject.live_records()}
    ours = [boundary for boundary in boundaries if boundary.environment_id in live]
    return _Live(
        frozenset(str(boundary.marker) for boundary in ours),
        frozenset(boundary.tag for boundary in ours),
    )


def _find_strays(subject: Subject, live: _Live) -> Mapping[ProcessIdentity, str]:
    """Return the processes of this data directory's daemon that are in no live boundary. Blocking."""
    table = system_table()
    data_id = data_directory_id(subject.data_dir)
    spared = _self_and_ancestors(table)
    strays = {}
    for pid in table.all_pids():
        if pid in spared:
            continue
        why = _evidence(table, pid, data_id, live)
        stat = table.read_stat(pid) if why else None
        if stat is not None and not stat.is_dead:
            strays[stat.identity] = f"pid {pid} ({stat.name}): {why}"
    return strays


def _evidence(table: ProcessTable, pid: int, data_id: str, live: _Live) -> str:
    markers = parse_markers(table.variable_of(pid, MARKER_VARIABLE))
    ours = [marker for marker in markers if marker.data_id == data_id]
    tag = table.tag_of(pid)
    tagged = tag is not None and is_tag(tag) and tag_data_id(tag) == int(data_id, 16)
    if (tagged and tag in live.tags) or any(str(marker) in live.markers for marker in ours):
        return ""
    if ours:
        return f"marked as of {ours[-1].environment_id}.{ours[-1].incarnation}"
    return "tagged as one of ours" if tagged else ""


def _self_and_ancestors(table: ProcessTable) -> frozenset[int]:
    """This process may itself have been started from within an environment."""
    spared: set[int] = set()
    pid = os.getpid()
    while pid > 0 and pid not in spared:
        spared.add(pid)
        stat = table.read_stat(pid)
        pid = 0 if stat is None else stat.ppid
    return frozenset(spared)


def _survivors(subject: Subject) -> list[Finding]:
    if subject.parts is None:
        return []
    statistics = subject.parts.keeper.statistics()
    findings = []
    if statistics.survivors:
        findings.append(
            warning(
                CHECK,
                counted(statistics.survivors, "process", "processes")
                + " could not be ended since the daemon was started",
                remedy="they belong to another user or hang in the kernel; see the daemon's log",
            )
        )
    if statistics.backend is Backend.PLAIN:
        findings.append(
            warning(
                CHECK,
                "an orphan that drops our mark cannot be found on this system",
                remedy="run the daemon as a systemd service with Delegate=yes where there is systemd",
            )
        )
    elif statistics.backend is Backend.SUBREAPER and not tags_available():
        findings.append(
            info(
                CHECK,
                "children cannot be tagged: RLIMIT_RTTIME has a finite hard limit",
                remedy="start the daemon with LimitRTTIME=infinity",
            )
        )
    return findings
