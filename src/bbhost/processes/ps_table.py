"""The system's list of processes where there is no ``/proc`` (macOS), by way of ``ps``.

One run of ``ps`` is one snapshot; it costs some 10 ms, so a snapshot serves a whole walk and a
look at a single process that is younger than ``FRESH_SECONDS``. Start times are whole seconds,
which is the best ``ps`` says: a pid reused within the second of its predecessor's start would not
be noticed. Arguments and environment are printed in one line, so a process that has our exact
marker (with its random nonce) among its arguments counts as marked.
"""

import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime

from bbhost.processes.proc import ProcessStat

FRESH_SECONDS = 0.05
"""Age up to which a snapshot answers for "now": the looks of one step of a walk share one."""
PS_TIMEOUT_SECONDS = 5.0
"""A ps that takes longer is given up; nothing is known then, so nothing is ended by mistake."""

_COLUMNS = "pid=,ppid=,pgid=,sess=,stat=,tty=,lstart=,comm="


def parse_ps_line(line: str) -> ProcessStat | None:
    """Return the process of one line of ``ps -A -o pid=,ppid=,pgid=,sess=,stat=,tty=,lstart=,comm=``."""
    parts = line.split(None, 11)
    if len(parts) < 11 or not all(part.isdecimal() for part in parts[:3]):
        return None
    try:
        # In the words of the C locale: "Mon Nov 23 07:03:11 2026".
        started = datetime.strptime(" ".join(parts[6:11]), "%a %b %d %H:%M:%S %Y")  # noqa: DTZ007 - only compared with itself
    except ValueError:
        return None
    pgid = int(parts[2])
    return ProcessStat(
        pid=int(parts[0]),
        name=parts[11] if len(parts) > 11 else "",
        state=parts[4][0],
        ppid=int(parts[1]),
        pgid=pgid,
        # macOS prints an address for the session, or 0; the group is what is left to go by.
        sid=int(parts[3]) if parts[3].isdecimal() and parts[3] != "0" else pgid,
        has_terminal=parts[5] not in ("?", "??", "-"),
        threads=1,
        start_time=int(started.timestamp()),
    )


def parse_ps_environments(text: str) -> dict[int, list[str]]:
    """Return, by pid, the words of arguments and environment that could be variables."""
    words: dict[int, list[str]] = {}
    for line in text.splitlines():
        pid, *rest = line.split()
        if pid.isdecimal():
            words[int(pid)] = [word for word in rest if "=" in word]
    return words


class PsTable:
    """Snapshots of ``ps``. There is no inherited limit to read, so ``tag_of`` knows nothing."""

    def __init__(self) -> None:
        self._taken_at = float("-inf")
        self._stats: dict[int, ProcessStat] = {}
        self._words: dict[int, list[str]] | None = None

    def read_stat(self, pid: int) -> ProcessStat | None:
        """Return what a fresh snapshot says of ``pid``."""
        return self._snapshot().get(pid)

    def child_lists(self) -> Callable[[int], list[int]]:
        """Return a function pid -> its children in one new snapshot."""
        self._taken_at = float("-inf")
        below: defaultdict[int, list[int]] = defaultdict(list)
        for stat in self._snapshot().values():
            below[stat.ppid].append(stat.pid)
        return lambda pid: below.get(pid, [])

    def all_pids(self) -> list[int]:
        """Return the ids in a fresh snapshot."""
        return list(self._snapshot())

    def tag_of(self, pid: int) -> int | None:
        """Return None: limits of other processes cannot be read here."""
        return None

    def variable_of(self, pid: int, name: str) -> str | None:
        """Return a variable out of ``ps -E``; values with spaces are cut at the first one."""
        self._snapshot()
        if self._words is None:
            # One run for all processes, and only for walks in which somebody asks.
            show = ["-A", "-E"] if sys.platform == "darwin" else ["axe"]
            self._words = parse_ps_environments(_run_ps([*show, "-ww", "-o", "pid=,command="]))
        values = [word for word in self._words.get(pid, ()) if word.startswith(f"{name}=")]
        # The environment is printed behind the arguments, so the last one is the variable.
        return values[-1].partition("=")[2] if values else None

    def working_directory(self, pid: int) -> str | None:
        """Return None: ``ps`` does not tell, so bystanders are not reported here."""
        return None

    def _snapshot(self) -> dict[int, ProcessStat]:
        if time.monotonic() - self._taken_at > FRESH_SECONDS:
            lines = _run_ps(["-A", "-o", _COLUMNS]).splitlines()
            stats = filter(None, map(parse_ps_line, lines))
            self._stats = {stat.pid: stat for stat in stats}
            self._words = None
            self._taken_at = time.monotonic()
        return self._stats


def _run_ps(arguments: list[str]) -> str:
    # Blocking on purpose: a walk must not be interleaved with the daemon's own starts and reaps.
    try:
        done = subprocess.run(
            ["/bin/ps", *arguments],
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=PS_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")
