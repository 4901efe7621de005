"""``bbhost demo``: the whole life of environments, with real processes, in a temporary place."""

from typing import Annotated

import typer

from bbhost.cli.commanding import Answer, Cli, local_command
from bbhost.cli.outcomes import Outcome


def register(app: typer.Typer) -> None:
    """Add the command."""

    @local_command(app, "demo")
    async def demo(
        cli: Cli,
        keep: Annotated[
            bool, typer.Option("--keep", help="Leave the temporary place there.")
        ] = False,
    ) -> Answer | None:
        """Show and check the whole life of environments, with real processes. Under 30 seconds."""
        from bbhost.cli.demo.run import run_demo

        report = await run_demo(keep=keep, quiet=cli.json)
        return Answer(
            report.to_json(), report.show, Outcome.OK if report.passed else Outcome.FAILED
        )
