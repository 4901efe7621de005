"""The ``bbhost`` program. The daemon starts without the command line's libraries in its memory."""

import sys


def main() -> None:
    """Run the command line; ends the process."""
    if sys.argv[1:2] == ["daemon"]:
        from bbhost.daemon.__main__ import main as run_daemon

        sys.exit(run_daemon(sys.argv[2:]))
    try:
        from bbhost.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "click"}:
            raise
        sys.exit("bbhost: the command line needs more packages: pip install 'bbhost[all]'")
    app()
