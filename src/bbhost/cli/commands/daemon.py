"""``bbhost daemon`` and ``bbhost hub``: each part alone, in the foreground."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from bbhost.cli.commanding import Answer, Cli, local_command


def register(app: typer.Typer) -> None:
    """Add the commands."""

    # ``main`` has caught "bbhost daemon" before this; the entry is here for --help and completion.
    @app.command(
        "daemon",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        add_help_option=False,
    )
    def daemon(context: typer.Context) -> None:
        """Run the daemon alone, in the foreground, connected to a hub or a stock bb server."""
        from bbhost.daemon.__main__ import main

        sys.exit(main(context.args))

    @local_command(app, "hub")
    async def hub(
        cli: Cli,
        host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
        port: Annotated[
            int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 picks one.")
        ] = 38_886,
        allow_host: Annotated[
            list[str] | None,
            typer.Option(help="Name that a Host header may carry beside the loopback ones."),
        ] = None,
    ) -> Answer | None:
        """Run the control server alone, in the foreground."""
        from bbhost.cli.running.hub import run_hub_alone

        data_dir: Path = cli.place.config().data_dir
        await run_hub_alone(data_dir, host, port, tuple(allow_host or ()), as_json=cli.json)
        return None
