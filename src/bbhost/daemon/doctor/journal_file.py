"""Whether the journal's file is sound, and what waits in it."""

from bbhost.daemon.doctor.finding import Finding, error, info, ok, warning
from bbhost.daemon.doctor.subject import Subject
from bbhost.errors import JournalError
from bbhost.journal.reading import check_journal

CHECK = "journal"
JOURNAL_NAME = "bbhost.sqlite"
"""As in ``daemon/assembly.py``, which is not imported where no daemon runs."""
MANY_RESULTS = 1_000
LARGE_BYTES = 512 * 1024**2


async def check_journal_file(subject: Subject) -> list[Finding]:
    """Run SQLite's quick check on the file, beside whoever uses it."""
    path = subject.data_dir / JOURNAL_NAME
    if not await subject.look(path.exists):
        return [info(CHECK, "there is no journal yet")]
    try:
        checkup = await subject.look(check_journal, path)
    except JournalError as trouble:
        return [error(CHECK, "the journal cannot be read", [trouble.message], "see the message")]
    findings = []
    if checkup.problems:
        findings.append(
            error(
                CHECK,
                "the journal is damaged",
                checkup.problems,
                f"stop the daemon and restore {path} from a backup, or move it away",
            )
        )
    if checkup.outbox > MANY_RESULTS:
        findings.append(
            warning(
                CHECK,
                f"{checkup.outbox} results wait for the server",
                remedy="see 'bbhost status' for the session",
            )
        )
    if checkup.file_bytes > LARGE_BYTES:
        findings.append(warning(CHECK, f"the journal has {checkup.file_bytes / 1024**2:.0f} MiB"))
    if checkup.refused_events:
        findings.append(
            info(
                CHECK,
                f"the server has refused {checkup.refused_events} events; they are kept for diagnosis",
            )
        )
    return findings or [ok(CHECK, f"sound, {checkup.file_bytes / 1024:.0f} KiB")]
