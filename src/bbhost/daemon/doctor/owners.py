"""Every live environment has exactly one owner, and no other has any."""

from collections import Counter
from collections.abc import Iterator

import trio

from bbhost.daemon.doctor.finding import Finding, error, ok, warning
from bbhost.daemon.doctor.subject import LOOK_AGAIN_SECONDS, Subject
from bbhost.toolkit.counted import counted

CHECK = "owners"
OWNER_TASK_PREFIX = "environment "
"""What the supervisor names the task of an owner."""


async def check_owners(subject: Subject) -> list[Finding]:
    """Compare the tasks that run with the environments on record."""
    if subject.parts is None:
        return [ok(CHECK, "no daemon was asked, so there are no owners to look at")]
    wrong = _discrepancies(subject)
    if wrong:
        # An owner that has just ended, or is about to begin, is none.
        await trio.sleep(LOOK_AGAIN_SECONDS)
        wrong &= _discrepancies(subject)
    findings = _troubles(subject)
    if wrong:
        findings.append(
            error(
                CHECK,
                counted(
                    len(wrong),
                    "environment and its owner do not fit",
                    "environments and their owners do not fit",
                ),
                sorted(wrong),
                "see the daemon's log for 'owner of an environment crashed'; restart the daemon",
            )
        )
    count = len(subject.live_records())
    return findings or [ok(CHECK, f"{count} live environments, each with one owner")]


def _discrepancies(subject: Subject) -> set[str]:
    owners = Counter(
        task.name.removeprefix(OWNER_TASK_PREFIX)
        for task in all_tasks()
        if task.name.startswith(OWNER_TASK_PREFIX)
    )
    live = {f"{r.environment_id}.{r.incarnation}": r for r in subject.live_records()}
    found = {f"{name} has {count} owners" for name, count in owners.items() if count > 1}
    found |= {
        f"{name} is {record.state} and has no owner"
        for name, record in live.items()
        if not owners[name]
    }
    found |= {
        f"{name} has an owner, but is not live on record" for name in owners if name not in live
    }
    return found


def _troubles(subject: Subject) -> list[Finding]:
    assert subject.parts is not None
    found = []
    for record in subject.live_records():
        actor = subject.parts.supervisor.actor(record.environment_id)
        if actor is None:
            continue
        trouble = actor.teardown.trouble
        if trouble is not None:
            found.append(
                warning(
                    CHECK,
                    f"{record.environment_id} cannot be torn down",
                    [f"attempt {actor.teardown.attempts}: {trouble.message}"],
                    "remove the cause; it is tried again with growing delays",
                )
            )
    return found


def all_tasks() -> Iterator[trio.lowlevel.Task]:
    """Yield every task of this run."""
    root = trio.lowlevel.current_root_task()
    waiting = [] if root is None else [root]
    while waiting:
        task = waiting.pop()
        yield task
        for nursery in task.child_nurseries:
            waiting.extend(nursery.child_tasks)
