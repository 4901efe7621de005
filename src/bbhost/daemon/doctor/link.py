"""Whether the daemon runs and has its server."""

import trio

from bbhost.daemon.doctor.finding import Finding, error, info, ok, warning
from bbhost.daemon.doctor.subject import Subject
from bbhost.lifecycle.session import SessionState

CHECK = "daemon"


async def check_link(subject: Subject) -> list[Finding]:
    """Say whether a daemon runs, answers, and is connected."""
    await trio.lowlevel.checkpoint()
    if subject.parts is None:
        if subject.owner_pid is None:
            return [info(CHECK, "no daemon runs on this data directory")]
        return [
            error(
                CHECK,
                f"a daemon (pid {subject.owner_pid}) runs and did not answer",
                remedy=f"see its log; if it is stalled: kill {subject.owner_pid}",
            )
        ]
    session = subject.parts.link.session
    status = None if session is None else session.status.value
    if status is None or status.state is not SessionState.OPEN:
        trouble = (
            "" if status is None else f"{status.state}; {status.trouble or 'no reason known'}"
        )
        return [warning(CHECK, "no session with the server", [trouble], "see 'bbhost status'")]
    return [ok(CHECK, "runs, and is connected to its server")]
