"""What was rescued, and what of it is past its time."""

import time

from bbhost.daemon.doctor.finding import Finding, info, ok, warning
from bbhost.daemon.doctor.subject import Subject
from bbhost.daemon.managed_places import known_repositories
from bbhost.errors import BbhostError
from bbhost.toolkit.counted import counted
from bbhost.workspace.rescue_list import RETENTION_SECONDS, list_rescues

CHECK = "rescues"


async def check_rescues(subject: Subject) -> list[Finding]:
    """Count the rescue refs of every known repository."""
    repositories = await subject.look(known_repositories, subject.data_dir, subject.records())
    kept: list[str] = []
    old: list[str] = []
    findings = []
    limit = time.time() - RETENTION_SECONDS
    for repository in repositories:
        try:
            rescues = await list_rescues(subject.git, repository)
        except BbhostError as trouble:
            findings.append(warning(CHECK, f"cannot look into {repository}", [trouble.message]))
            continue
        for rescue in rescues:
            (old if rescue.rescued_at_s < limit else kept).append(f"{rescue.name} in {repository}")
    if old:
        findings.append(
            warning(
                CHECK,
                counted(len(old), "rescue is", "rescues are")
                + f" older than {RETENTION_SECONDS // 86_400} days",
                old,
                "bbhost rescue show NAME; then: bbhost gc --no-dry-run",
            )
        )
    if kept:
        findings.append(
            info(
                CHECK,
                counted(len(kept), "rescue is kept", "rescues are kept"),
                kept,
                "bbhost rescue ls, restore, drop",
            )
        )
    return findings or [ok(CHECK, "nothing had to be rescued")]
