"""Which unit of systemd this daemon is, and whether systemd is about to start it again."""

import logging
import os
import re
from collections.abc import Mapping
from pathlib import PurePosixPath

import trio
from attrs import frozen

from bbhost.errors import BbhostError
from bbhost.processes import proc
from bbhost.processes.child import run_child

log = logging.getLogger(__name__)

UNIT_VARIABLE = "BBHOST_UNIT"
"""``user/NAME`` or ``system/NAME``; set by the unit that ``bbhost service install`` writes, whose other
settings (KillMode, FileDescriptorStoreMax, ExecStopPost) are what a hand-over needs."""
INVOCATION_VARIABLE = "INVOCATION_ID"
"""Set by systemd; new in each start of the unit, the same for the commands that follow its end."""
MOST_TERMINALS = 64
"""Handed over; FileDescriptorStoreMax of the unit. Environments beyond it lose theirs, as at any stop."""
ASK_SECONDS = 1.0
"""For systemctl to answer; without an answer, no restart is coming."""
_ANSWER_BYTES = 256 * 1024


@frozen
class Unit:
    """The unit that this process belongs to."""

    scope: str
    """``user`` or ``system``: whose manager has it."""
    name: str
    invocation_id: str

    async def restart_is_coming(self) -> bool:
        """Whether this stop is the first half of a restart. False where nobody can tell.

        Cancellation: safe.
        """
        scope = ["--user"] if self.scope == "user" else []
        command = [
            "systemctl",
            *scope,
            "list-jobs",
            "--plain",
            "--no-legend",
            "--no-pager",
            "--full",
        ]
        with trio.move_on_after(ASK_SECONDS):
            try:
                done = await run_child(
                    command, cwd="/", stdout_limit=_ANSWER_BYTES, grace_seconds=0.1
                )
            except OSError as error:
                log.info("systemctl cannot be asked whether this is a restart: %s", error)
                return False
            return is_restarting(done.stdout.decode(errors="replace"), self.name)
        log.info("systemctl did not say within %.0f s whether this is a restart", ASK_SECONDS)
        return False

    def tree_path(self) -> str:
        """Path of the unit's cgroup, as the kernel names it.

        Raises:
            BbhostError: this process is not in the cgroup of that unit.
        """
        own = PurePosixPath(proc.cgroup_path(os.getpid()) or "/")
        for path in (own, *own.parents):
            if path.name == self.name:
                return str(path)
        raise BbhostError(f"this process is not in the cgroup of {self.name}")


def is_restarting(jobs: str, unit: str) -> bool:
    """Whether ``systemctl list-jobs`` names a restart of ``unit``: lines of id, unit, type, state."""
    for line in jobs.splitlines():
        words = line.split()
        if len(words) >= 3 and words[1] == unit:
            return words[2] == "restart"
    return False


def own_unit(environ: Mapping[str, str] | None = None) -> Unit | None:
    """Return the unit that this daemon was started by; None where there is none, or an older one."""
    environ = os.environ if environ is None else environ
    scope, _, name = environ.get(UNIT_VARIABLE, "").partition("/")
    invocation = environ.get(INVOCATION_VARIABLE, "")
    if scope not in {"user", "system"} or not re.fullmatch(r"[\w:.@\\-]+\.service", name):
        return None
    return Unit(scope, name, invocation) if re.fullmatch(r"[0-9a-f]{32}", invocation) else None
