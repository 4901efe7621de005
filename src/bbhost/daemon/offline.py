"""What the control socket answers, for when no daemon runs on the data directory.

The doctor only reads and takes no lock. Collecting changes things that a daemon would own, so it holds
the data directory's lock while it works; nothing waits for that lock.
"""

import trio

from bbhost.daemon.collecting import Collector, GcReport, GcRequest
from bbhost.daemon.config import Config
from bbhost.daemon.doctor.journal_file import JOURNAL_NAME
from bbhost.daemon.lock import hold_lock
from bbhost.daemon.rescues import RescueDesk
from bbhost.domain.environment import EnvironmentRecord
from bbhost.journal.reading import read_environments
from bbhost.toolkit.keyed_locks import KeyedLocks
from bbhost.workspace.git import GIT_PROCESSES_AT_ONCE, Git
from bbhost.workspace.saved_files import SaveLimits
from bbhost.workspace.tools import WorkspaceTools, make_tools


async def collect_offline(config: Config, request: GcRequest) -> GcReport:
    """Collect garbage without a daemon.

    Raises:
        AlreadyRunningError: a daemon runs after all; ask it.
        JournalError: the journal cannot be read; without it nothing is certain, and nothing is done.
    """
    if request.dry_run and not config.data_dir.exists():
        # To look for what is left over must not leave anything.
        return GcReport(True, (), tuple(sorted(request.include_unclear)))
    with hold_lock(config.data_dir):
        records = await _records(config)
        limits = SaveLimits(max_bytes=config.get("rescue_max_mib") * 1024 * 1024)
        collector = Collector(_tools(config), lambda: records, KeyedLocks().hold, limits)
        return await collector.collect(request)


async def rescue_desk_offline(config: Config) -> RescueDesk:
    """Open the desk for rescued work without a daemon.

    Raises:
        JournalError: the journal cannot be read, so the repositories are not known.
    """
    records = await _records(config)
    return RescueDesk(_tools(config), lambda: records)


async def _records(config: Config) -> list[EnvironmentRecord]:
    return await trio.to_thread.run_sync(read_environments, config.data_dir / JOURNAL_NAME)


def _tools(config: Config) -> WorkspaceTools:
    return make_tools(
        config.data_dir,
        Git(
            processes_at_once=config.get("git_processes") or GIT_PROCESSES_AT_ONCE,
            look_seconds=config.get("git_look_seconds"),
        ),
    )
