"""All commands. Modules that do work are imported by the commands, when they run."""

from typing import Annotated

import typer

from bbhost import __version__
from bbhost.cli.commands import (
    configuration,
    daemon,
    demo,
    diagrams,
    doctor,
    environments,
    files,
    gc,
    providers,
    rescue,
    run,
    service,
    status,
    terminals,
    threads,
    up,
)

EPILOG = (
    "Exit codes: 0 ok, 1 failed, 2 wrong usage, 3 no hub or daemon answers, 4 refused or not found, "
    "69 the host's daemon is not connected, 75 no answer in time, 78 wrong configuration, "
    "130 interrupted."
)

app = typer.Typer(
    name="bbhost",
    help="A host daemon for agentic coding: worktrees, agents and terminals, and nothing left behind.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bbhost {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """A host daemon for agentic coding: worktrees, agents and terminals, and nothing left behind."""


up.register(app)
daemon.register(app)
app.add_typer(environments.app)
app.add_typer(terminals.app)
app.add_typer(files.app)
app.add_typer(threads.app)
run.register(app)
app.add_typer(providers.app)
status.register(app)
doctor.register(app)
gc.register(app)
app.add_typer(rescue.app)
app.add_typer(service.app)
app.add_typer(configuration.app)
app.add_typer(diagrams.app)
demo.register(app)
