"""Records, directories and git registrations must name each other."""

from pathlib import Path

import trio

from bbhost.daemon.doctor.finding import Finding, Severity, error, info, ok, warning
from bbhost.daemon.doctor.subject import LOOK_AGAIN_SECONDS, Subject
from bbhost.daemon.leftovers import Leftover, LeftoverClass, LeftoverForm, find_leftovers
from bbhost.domain.environment import EnvironmentRecord, EnvironmentState

CHECK = "worktrees"


async def check_worktrees(subject: Subject) -> list[Finding]:
    """Look for workspaces without a record, and for records without a workspace."""
    leftovers = await subject.look(find_leftovers, subject.data_dir, subject.records())
    missing = await subject.look(_missing, subject.records())
    if leftovers or missing:
        # What is being made or removed at this moment is neither.
        await trio.sleep(LOOK_AGAIN_SECONDS)
        again = await subject.look(find_leftovers, subject.data_dir, subject.records())
        leftovers = [leftover for leftover in leftovers if leftover in again]
        missing = missing & await subject.look(_missing, subject.records())
    findings = [
        error(
            CHECK,
            f"{record.environment_id} is ready, but its workspace is missing",
            [record.path],
            "destroy the environment, or put the directory back",
        )
        for record in sorted(missing, key=lambda record: record.environment_id)
    ]
    findings += _describe(leftovers)
    return findings or [ok(CHECK, "records, directories and git registrations fit")]


def _missing(records: list[EnvironmentRecord]) -> frozenset[EnvironmentRecord]:
    return frozenset(
        record
        for record in records
        if record.state is EnvironmentState.READY and not Path(record.path).is_dir()
    )


def _describe(leftovers: list[Leftover]) -> list[Finding]:
    kinds = (
        (LeftoverClass.REMOVABLE, LeftoverForm.WORKSPACE, Severity.WARNING,
         "workspaces were to be destroyed and are still there", "bbhost gc --no-dry-run"),
        (LeftoverClass.REMOVABLE, LeftoverForm.REGISTRATION, Severity.WARNING,
         "worktrees are destroyed and still registered in git", "bbhost gc --no-dry-run"),
        (LeftoverClass.UNCLEAR, LeftoverForm.WORKSPACE, Severity.WARNING,
         "directories beneath the managed roots are in no record",
         "look at them, then: bbhost gc --no-dry-run --include-unclear ID"),
        (LeftoverClass.UNCLEAR, LeftoverForm.REGISTRATION, Severity.WARNING,
         "worktrees are registered in git without files and without a record",
         "bbhost gc --no-dry-run --include-unclear ID, or git worktree prune"),
        (LeftoverClass.KEPT, LeftoverForm.WORKSPACE, Severity.INFO,
         "retired environments have left their files, as they should",
         "bbhost gc --no-dry-run --include-unclear ID, where they are not wanted"),
        (LeftoverClass.KEPT, LeftoverForm.REGISTRATION, Severity.INFO,
         "registrations without files are kept: locked, or of retired environments", ""),
    )  # fmt: skip
    findings = []
    for classification, form, severity, what, remedy in kinds:
        these = [
            leftover
            for leftover in leftovers
            if leftover.classification is classification and leftover.form is form
        ]
        if these:
            evidence = [f"{one.id}: {'; '.join(one.evidence)}" for one in these]
            make = info if severity is Severity.INFO else warning
            findings.append(make(CHECK, f"{len(these)} {what}", evidence, remedy))
    return findings
