"""``bbhost diagrams``: the pictures of the machines."""

from pathlib import Path
from typing import Annotated

import typer

from bbhost.cli.commanding import Answer, Cli, local_command
from bbhost.cli.outcomes import Outcome
from bbhost.cli.printing import say

app = typer.Typer(
    name="diagrams",
    help="Pictures of the state machines.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Folder = Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where the generated files are.")]


@local_command(app, "render")
def render(cli: Cli, folder: Folder = Path("state_diagrams")) -> Answer | None:
    """Write the pictures and tables of all machines."""
    from bbhost.cli.diagrams import write_diagrams

    written = write_diagrams(folder)
    return Answer({"written": written}, lambda: say(f"Wrote {len(written)} files into {folder}."))


@local_command(app, "check")
def check(cli: Cli, folder: Folder = Path("state_diagrams")) -> Answer | None:
    """Tell whether the generated files are what the machines are now."""
    from bbhost.cli.diagrams import stale_diagrams

    stale = stale_diagrams(folder)

    def show() -> None:
        for name in stale:
            say(f"stale: {folder / name}")
        say("Run 'bbhost diagrams render'." if stale else "All diagrams are fresh.")

    return Answer({"stale": stale}, show, Outcome.FAILED if stale else Outcome.OK)
