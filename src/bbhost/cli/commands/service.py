"""``bbhost service``: the daemon as a service of systemd or launchd."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from bbhost.cli.commanding import Answer, Cli, local_command
from bbhost.cli.outcomes import Outcome
from bbhost.cli.printing import clean, clean_lines, say, say_facts

if TYPE_CHECKING:
    from bbhost.daemon.service.plan import ServicePlan

app = typer.Typer(
    name="service",
    help="The daemon as a service of systemd or launchd.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
System = Annotated[
    bool | None,
    typer.Option(
        "--system/--user",
        help="The machine's systemd, or the user's own; by default the machine's for root.",
    ),
]
RunAs = Annotated[
    str | None,
    typer.Option("--run-as", help="User that a system service runs as.", metavar="USER"),
]


@local_command(app, "install")
async def install(
    cli: Cli,
    system: System = None,
    run_as: RunAs = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show the definition and where it would go.")
    ] = False,
) -> Answer | None:
    """Write the service's definition and start it; returns when the daemon is ready."""
    from bbhost.daemon.service import engine

    report = await engine.install(_plan(cli, system, run_as), dry_run=dry_run)

    def show() -> None:
        if dry_run:
            say(f"# {clean(report.path)}")
            say(clean_lines(report.text))
        else:
            say(f"{report.outcome}: {clean(report.path)}")
        for hint in report.hints:
            say(f"! {clean(hint)}")

    return Answer(
        {
            "result": report.outcome,
            "path": str(report.path),
            "text": report.text,
            "hints": list(report.hints),
        },
        show,
    )


@local_command(app, "uninstall")
async def uninstall(cli: Cli, system: System = None) -> Answer | None:
    """Stop the service and remove its definition. The data directory stays as it is."""
    from bbhost.daemon.service import engine

    outcome = await engine.uninstall(_plan(cli, system, None))
    return Answer({"result": outcome}, lambda: say(str(outcome)))


@local_command(app, "status")
async def status(cli: Cli, system: System = None) -> Answer | None:
    """Tell what the service manager says of the service. Exit codes: 0 running, 1 failed, 4 otherwise."""
    from bbhost.daemon.service.engine import ServiceState, read_status

    found = await read_status(_plan(cli, system, None))
    outcomes = {
        ServiceState.RUNNING: Outcome.OK,
        ServiceState.STARTING: Outcome.OK,
        ServiceState.FAILED: Outcome.FAILED,
    }
    facts = {
        "state": found.state,
        "path": str(found.path),
        "pid": found.pid,
        "detail": found.detail,
        "statusText": found.status_text,
        "restarts": found.restarts,
    }
    return Answer(
        facts, lambda: say_facts(list(facts.items())), outcomes.get(found.state, Outcome.NOT_FOUND)
    )


@local_command(app, "logs")
async def logs(
    cli: Cli,
    system: System = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="Lines to begin with.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come.")] = False,
) -> Answer | None:
    """Show the service's log as it was written: one JSON object to a line."""
    from bbhost.daemon.service.engine import show_logs

    def write(piece: bytes) -> None:
        sys.stdout.write(clean_lines(piece.decode("utf-8", "replace")))
        sys.stdout.flush()

    await show_logs(_plan(cli, system, None), write, lines=lines, follow=follow)
    return None


def _plan(cli: Cli, system: bool | None, run_as: str | None) -> "ServicePlan":
    from bbhost.daemon.service.plan import ServiceKind, default_kind, make_plan

    kind = default_kind()
    if system is not None and kind is not ServiceKind.LAUNCHD:
        kind = ServiceKind.SYSTEMD_SYSTEM if system else ServiceKind.SYSTEMD_USER
    return make_plan(cli.place.config(), kind, user=run_as)
