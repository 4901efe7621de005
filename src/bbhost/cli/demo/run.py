"""The demonstration: its steps in order, each with a deadline."""

import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from subprocess import CalledProcessError

import trio

from bbhost.cli.demo import agent_step, first_steps, hard_steps
from bbhost.cli.demo.report import Check, DemoReport
from bbhost.cli.demo.world import World, open_world
from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.cli.printing import clean, note, say
from bbhost.cli.running.signals import cancel_on_signal
from bbhost.errors import BbhostError

STEP_SECONDS = 30.0
"""For one step on a machine that is very busy; usually a step takes one or two."""

Step = Callable[[World], Awaitable[None]]
STEPS: tuple[Step, ...] = (
    first_steps.begin,
    first_steps.provision,
    first_steps.notice,
    first_steps.leave_process,
    first_steps.destroy,
    first_steps.refuse,
    agent_step.work,
    hard_steps.cut,
    hard_steps.stop_and_start,
    hard_steps.kill,
    hard_steps.finish,
)


async def run_demo(*, keep: bool, quiet: bool) -> DemoReport:
    """Run all steps in a temporary place, which is removed afterwards unless ``keep``.

    Raises:
        CommandError: git is missing, or a signal ended it. Processes and files are gone then, too.
    """
    if shutil.which("git") is None:
        raise CommandError(Outcome.FAILED, "git is not installed, or not on PATH")
    place = Path(tempfile.mkdtemp(prefix="bbhost-demo-")).resolve()
    report = DemoReport()
    began = time.monotonic()
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(cancel_on_signal, nursery.cancel_scope)
            await _run_steps(place, report, quiet=quiet)
            nursery.cancel_scope.cancel(reason="the demonstration is over")
            report.seconds = time.monotonic() - began
    finally:
        if keep:
            note(f"The place is kept: {place}")
        else:
            shutil.rmtree(place, ignore_errors=True)
    if not report.seconds:
        raise CommandError(Outcome.INTERRUPTED, "Interrupted; nothing is left behind")
    return report


async def _run_steps(place: Path, report: DemoReport, *, quiet: bool) -> None:
    if not quiet:
        say(f"bbhost demo: real processes, in {clean(place)}")
    (place / "config.toml").write_text(agent_step.CONFIG, encoding="utf-8")
    async with open_world(place, report, quiet=quiet) as world:
        for step in STEPS:
            name = step.__name__.replace("_", " ")
            try:
                with trio.fail_after(STEP_SECONDS):
                    await step(world)
            except trio.TooSlowError:
                trouble = f"not done after {STEP_SECONDS:.0f} s"
            except (BbhostError, OSError) as error:
                trouble = str(error)
            except CalledProcessError as error:
                said = (error.stderr or b"").decode("utf-8", "replace").strip()
                trouble = f"{error}: {said}"
            else:
                continue
            # What follows builds on this step.
            report.checks.append(Check(f"step: {name}", False, trouble))
            if not quiet:
                _show_log(place / "daemon.log")
            return


def _show_log(log: Path) -> None:
    note("The last lines of the daemon's log:")
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        lines = [str(error)]
    for line in lines[-8:]:
        note(f"  {clean(line)}")
