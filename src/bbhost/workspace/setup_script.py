"""The set-up script of a new worktree: it must succeed, or there is no environment."""

from pathlib import Path

from bbhost.errors import SetupScriptError
from bbhost.processes.spawn import ProcessOpener
from bbhost.toolkit.faults import fault_point
from bbhost.workspace.disk import on_disk
from bbhost.workspace.hook_script import run_hook_script, script_in
from bbhost.workspace.transcript import Transcript

SETUP_SCRIPT = ".bb-env-setup.sh"


async def run_setup_script(
    workspace: Path,
    transcript: Transcript,
    boundary: ProcessOpener | None,
    *,
    timeout_seconds: float,
) -> bool:
    """Run the set-up script. False where the workspace has none.

    Raises:
        SetupScriptError: it failed, was ended by a signal or took too long.

    Cancellation: its process group is killed at once.
    """
    script = await on_disk(script_in, workspace, SETUP_SCRIPT)
    if script is None:
        return False
    step = transcript.started("setup-started", f"Running {SETUP_SCRIPT}")
    transcript.output("setup-command", f"env bash {SETUP_SCRIPT}")
    end = await run_hook_script(
        script,
        timeout_seconds=timeout_seconds,
        boundary=boundary,
        on_line=lambda line: transcript.line("setup-output", line),
    )
    fault_point("provision.setup_ended")
    if not end.succeeded:
        step.failed("setup-failed", f"{SETUP_SCRIPT} failed")
        raise SetupScriptError(end.detail)
    step.completed("setup-completed", f"{SETUP_SCRIPT} finished")
    return True
