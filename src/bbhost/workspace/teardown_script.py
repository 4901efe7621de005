"""The teardown script of a worktree: it has its chance, and cannot stop the removal."""

from pathlib import Path

from bbhost.processes.spawn import ProcessOpener
from bbhost.toolkit.faults import fault_point
from bbhost.workspace.disk import on_disk
from bbhost.workspace.hook_script import ScriptEnd, run_hook_script, script_in
from bbhost.workspace.transcript import Transcript

TEARDOWN_SCRIPT = ".bb-env-teardown.sh"
TEARDOWN_SECONDS = 60.0
"""Deadline unless the caller says otherwise."""


async def run_teardown_script(
    workspace: Path,
    transcript: Transcript,
    boundary: ProcessOpener | None,
    *,
    timeout_seconds: float = TEARDOWN_SECONDS,
) -> ScriptEnd | None:
    """Run the teardown script and tell how it ended; None where the workspace has none.

    A failure is reported in the transcript and in the result, never raised.

    Cancellation: its process group is killed at once.
    """
    script = await on_disk(script_in, workspace, TEARDOWN_SCRIPT)
    if script is None:
        return None
    step = transcript.started("teardown-started", f"Running {TEARDOWN_SCRIPT}")
    transcript.output("teardown-command", f"env bash {TEARDOWN_SCRIPT}")
    end = await run_hook_script(
        script,
        timeout_seconds=timeout_seconds,
        boundary=boundary,
        on_line=lambda line: transcript.line("teardown-output", line),
    )
    fault_point("teardown.script_ended")
    if end.succeeded:
        step.completed("teardown-completed", f"{TEARDOWN_SCRIPT} finished")
    else:
        step.failed("teardown-failed", end.detail)
    return end
