"""``bbhost doctor``: what the daemon believes, against what the kernel and git say."""

from typing import Annotated, Any

import typer

from bbhost.cli.commanding import Answer, Cli, local_command
from bbhost.cli.outcomes import CommandError, ExitCode, Outcome
from bbhost.cli.printing import clean_lines, note, say

SPARE_SECONDS = 10.0
"""What an answer may take beyond the deadline of its checks."""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @local_command(app, "doctor")
    async def doctor(
        cli: Cli,
        deadline: Annotated[float, typer.Option(help="Seconds that each check may take.")] = 10.0,
        offline: Annotated[
            bool, typer.Option("--offline", help="Look from outside, without asking the daemon.")
        ] = False,
    ) -> Answer | None:
        """Examine daemon and data directory. Exit codes: 0 nothing wrong, 1 warnings, 2 errors."""
        report = await _examine(cli, deadline, offline)
        code = ExitCode(report["exitCode"])
        return Answer(
            report, lambda: _show(report), Outcome.FAILED if code else Outcome.OK, code=code
        )


async def _examine(cli: Cli, deadline: float, offline: bool) -> dict[str, Any]:
    """Ask the daemon; where it does not answer, look from outside."""
    from bbhost.cli.control import ask_daemon

    config = cli.place.config()
    if not offline:
        try:
            report: dict[str, Any] = await ask_daemon(
                config, "GET", f"/doctor?deadline={deadline}", seconds=deadline + SPARE_SECONDS
            )
        except CommandError as error:
            if error.outcome not in {Outcome.UNREACHABLE, Outcome.TIMEOUT}:
                raise
            if not cli.json:
                note(f"{error.message}; looking from outside")
        else:
            return report
    from bbhost.daemon.doctor.doctor import examine_from_outside

    return (await examine_from_outside(config, deadline_seconds=deadline)).to_json()


def _show(report: dict[str, Any]) -> None:
    from bbhost.daemon.doctor.finding import to_text

    say(clean_lines(to_text(report)))
