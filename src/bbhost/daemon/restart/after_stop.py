"""What the unit runs when the daemon has ended, however it ended (ExecStopPost).

The unit's KillMode leaves processes alone, so that terminals can outlive a restart. This does what
systemd would have done otherwise: whatever is in the unit's cgroup is killed, except for the leaves
that the daemon has left to the next one, and these only while a restart is coming.
"""

import logging
import os
import signal
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import trio

from bbhost.daemon.restart.note import read_note
from bbhost.daemon.restart.unit import Unit, own_unit
from bbhost.errors import BbhostError
from bbhost.processes.leaf import cgroup_directory

log = logging.getLogger(__name__)

ROUNDS = 50
"""Looks at the cgroup, each killing what is there: a program that forks while it is killed is met again."""
ROUND_SECONDS = 0.05


def main(argv: list[str] | None = None) -> int:
    """End what the daemon in the directory that is the only argument has left; return an exit code."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    arguments = sys.argv[1:] if argv is None else argv
    unit = own_unit()
    if len(arguments) != 1 or unit is None:
        log.error("to be run by the unit of the daemon only, with its data directory")
        return 2
    try:
        return trio.run(_run, Path(arguments[0]), unit)
    except BbhostError as error:
        log.error("%s", error.message)
        return 1


async def _run(data_dir: Path, unit: Unit) -> int:
    tree_path = unit.tree_path()
    cgroup = cgroup_directory(tree_path)
    if cgroup is None:
        raise BbhostError(f"the cgroup {tree_path} is not mounted")
    spared: Collection[str] = read_note(data_dir, unit.invocation_id)
    if spared and not await unit.restart_is_coming():
        log.warning("no restart is coming: the terminals that were left for it end")
        spared = ()
    return 0 if await kill_rest(cgroup, frozenset(spared)) else 1


async def kill_rest(cgroup: Path, spared: frozenset[str]) -> bool:
    """Kill every process in and below ``cgroup``, but for this one and those in the spared leaves.

    Returns:
        Whether nothing else is left; what is not is logged.
    """
    left: list[int] = []
    for _ in range(ROUNDS):
        left = [pid for pid in _members(cgroup, spared) if pid != os.getpid()]
        if not left:
            return True
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for leaf in _below(cgroup, spared):
            # Also reaches what has become another user's; our own processes are not in one.
            with suppress(OSError):
                if str(os.getpid()) not in (leaf / "cgroup.procs").read_text().split():
                    (leaf / "cgroup.kill").write_text("1")
        await trio.sleep(ROUND_SECONDS)
    log.error("still running after SIGKILL: %s", ", ".join(map(str, left)))
    return False


def _below(cgroup: Path, spared: frozenset[str]) -> list[Path]:
    with suppress(OSError):
        return [path for path in cgroup.iterdir() if path.is_dir() and path.name not in spared]
    return []


def _members(cgroup: Path, spared: frozenset[str]) -> list[int]:
    tops = [cgroup / "cgroup.procs"]
    for leaf in _below(cgroup, spared):
        tops += [Path(directory) / "cgroup.procs" for directory, _below, _files in os.walk(leaf)]
    pids: list[int] = []
    for file in tops:
        with suppress(OSError):
            pids.extend(map(int, file.read_text().split()))
    return [pid for pid in pids if pid > 0]


if __name__ == "__main__":
    sys.exit(main())
