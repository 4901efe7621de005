"""Processes that stand in a workspace without being ours: reported, never touched."""

import os
from pathlib import Path

from bbhost.processes.records import Bystander
from bbhost.processes.spawn import started_children
from bbhost.processes.table import ProcessTable

BYSTANDERS_REPORTED = 64
"""More than these are not listed; nobody reads on."""


def find_bystanders(table: ProcessTable, workspace: Path) -> list[Bystander]:
    """Return the processes of others whose working directory is ``workspace`` or below it.

    Reads the whole process table: call it in a thread.
    """
    root = str(workspace.resolve())
    found: list[Bystander] = []
    for pid in table.all_pids():
        if pid == os.getpid() or pid in started_children:
            continue
        directory = table.working_directory(pid)
        if directory is None or not f"{directory}/".startswith(f"{root}/"):
            continue
        stat = table.read_stat(pid)
        if stat is not None and not stat.is_dead:
            found.append(Bystander(stat.identity, stat.name, directory))
        if len(found) == BYSTANDERS_REPORTED:
            break
    return found
