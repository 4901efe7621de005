"""The examination: all checks, side by side, each within its deadline."""

import logging
from collections.abc import Awaitable, Callable

import trio
from attrs import frozen

from bbhost.daemon.config import Config
from bbhost.daemon.doctor.clock import check_clock
from bbhost.daemon.doctor.disk_space import check_disk
from bbhost.daemon.doctor.file_modes import check_file_modes
from bbhost.daemon.doctor.finding import Finding, Report, Severity, error, warning
from bbhost.daemon.doctor.git_locks import check_git_locks
from bbhost.daemon.doctor.git_version import check_git
from bbhost.daemon.doctor.journal_file import JOURNAL_NAME, check_journal_file
from bbhost.daemon.doctor.limits import check_limits
from bbhost.daemon.doctor.link import check_link
from bbhost.daemon.doctor.owners import check_owners
from bbhost.daemon.doctor.processes import check_processes
from bbhost.daemon.doctor.rescue_refs import check_rescues
from bbhost.daemon.doctor.subject import Subject
from bbhost.daemon.doctor.temporary_worktrees import check_temporary_worktrees
from bbhost.daemon.doctor.trash_size import check_trash
from bbhost.daemon.doctor.watches import check_watches
from bbhost.daemon.doctor.worktrees import check_worktrees
from bbhost.daemon.lock import peek_owner
from bbhost.domain.environment import EnvironmentRecord
from bbhost.errors import JournalError
from bbhost.journal.reading import read_environments
from bbhost.workspace.git import Git

log = logging.getLogger(__name__)

DEADLINE_SECONDS = 10.0
"""For one check. One that has not answered by then is a finding itself."""


@frozen
class Check:
    """One question that is asked."""

    name: str
    run: Callable[[Subject], Awaitable[list[Finding]]]


CHECKS: tuple[Check, ...] = (
    Check("daemon", check_link),
    Check("watches", check_watches),
    Check("owners", check_owners),
    Check("processes", check_processes),
    Check("worktrees", check_worktrees),
    Check("git_locks", check_git_locks),
    Check("temporary_worktrees", check_temporary_worktrees),
    Check("trash", check_trash),
    Check("rescues", check_rescues),
    Check("limits", check_limits),
    Check("git", check_git),
    Check("file_modes", check_file_modes),
    Check("journal", check_journal_file),
    Check("disk", check_disk),
    Check("clock", check_clock),
)


async def examine(
    subject: Subject,
    *,
    deadline_seconds: float = DEADLINE_SECONDS,
    checks: tuple[Check, ...] = CHECKS,
) -> Report:
    """Run the checks and return what they found, in their order.

    Takes hardly longer than the deadline, whatever hangs: a look at a dead disk is left behind in its
    thread, and the check that waited for it is reported.

    Cancellation: safe; nothing is changed.
    """
    began = trio.current_time()
    found: dict[str, list[Finding]] = {}
    async with trio.open_nursery() as asking:
        for check in checks:
            asking.start_soon(_ask, check, subject, deadline_seconds, found)
    findings = tuple(finding for check in checks for finding in found[check.name])
    return Report(findings, subject.parts is not None, trio.current_time() - began)


async def _ask(
    check: Check, subject: Subject, deadline_seconds: float, found: dict[str, list[Finding]]
) -> None:
    with trio.move_on_after(deadline_seconds) as deadline:
        try:
            found[check.name] = await check.run(subject)
        except Exception as trouble:
            # One check that cannot look must not keep the others from telling.
            log.exception("the check %s failed", check.name)
            found[check.name] = [
                Finding(check.name, Severity.ERROR, f"the check failed: {trouble!r}")
            ]
    if deadline.cancelled_caught:
        found[check.name] = [
            error(
                check.name,
                f"no answer within {deadline_seconds:g} s",
                remedy="a disk or a git that hangs, or an overloaded machine; try again",
            )
        ]


async def examine_from_outside(
    config: Config, *, deadline_seconds: float = DEADLINE_SECONDS
) -> Report:
    """Examine a data directory without asking its daemon; takes no lock and changes nothing."""
    records: tuple[EnvironmentRecord, ...] = ()
    trouble = ""
    with trio.move_on_after(deadline_seconds) as deadline:
        try:
            path = config.data_dir / JOURNAL_NAME
            records = tuple(
                await trio.to_thread.run_sync(read_environments, path, abandon_on_cancel=True)
            )
        except JournalError as error_:
            trouble = error_.message
    if deadline.cancelled_caught:
        trouble = "the journal did not answer in time"
    subject = Subject(config, Git(), None, records, trouble, owner_pid=peek_owner(config.data_dir))
    report = await examine(subject, deadline_seconds=deadline_seconds)
    if not trouble:
        return report
    blind = warning("records", "nothing is known of the environments", [trouble])
    return Report((blind, *report.findings), report.by_daemon, report.seconds)
