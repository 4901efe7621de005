"""``bbhost up`` and ``bbhost stop``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bbhost.cli.commanding import Answer, Cli, local_command
from bbhost.cli.printing import clean, note, say, say_facts, say_json

if TYPE_CHECKING:
    from bbhost.cli.running.up import Running

DEFAULT_PORT = 38_886


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @local_command(app, "up")
    async def up(
        cli: Cli,
        port: Annotated[
            int, typer.Option(min=0, max=65_535, help="Port of the hub; 0 picks a free one.")
        ] = DEFAULT_PORT,
        host: Annotated[str, typer.Option(help="Address the hub listens on.")] = "127.0.0.1",
        logs: Annotated[bool, typer.Option("--logs", help="Show the daemon's log here.")] = False,
    ) -> Answer | None:
        """Run a hub and a daemon together, in the foreground, until Ctrl-C."""
        import trio

        from bbhost.cli.running.up import UpSettings, run_up
        from bbhost.daemon.logs import set_up_logs

        config = cli.place.config()
        set_up_logs("warning", "text", None)
        named = config.get("log_file")
        log = None if logs else Path(named or config.data_dir / "logs" / "daemon.log")
        async with trio.open_nursery() as nursery:
            running = await nursery.start(run_up, UpSettings(config, host, port, log))
            _announce(running, as_json=cli.json)
        if not cli.json:
            note("Stopped.")
        return None

    @local_command(app, "stop")
    async def stop(cli: Cli) -> Answer | None:
        """Ask the daemon of the data directory to stop, and wait until it has."""
        from bbhost.cli.running.stopping import stop_daemon

        pid = await stop_daemon(cli.place.config())
        return Answer({"pid": pid}, lambda: say(f"The daemon (pid {pid}) has stopped."))


def _announce(running: "Running", *, as_json: bool) -> None:
    if as_json:
        say_json(
            {
                "outcome": "ok",
                "url": running.url,
                "hostId": running.host_id,
                "dataDir": str(running.data_dir),
                "tokenFile": str(running.token_file),
                "controlSocket": str(running.control_socket),
                "daemonPid": running.daemon_pid,
            }
        )
        return
    say("bbhost is up.")
    say_facts(
        [
            ("  hub", running.url),
            ("  host", running.host_id),
            ("  data", running.data_dir),
            ("  daemon log", running.log),
        ]
    )
    say()
    say("In another terminal:")
    # Only where another command would not find this place by itself.
    place = f" --data-dir {clean(running.data_dir)}" if not _is_default(running.data_dir) else ""
    for command, what in (
        (f"bbhost env create PATH{place}", "a worktree of the repository at PATH"),
        (f"bbhost env ls{place}", "what there is"),
        (f"bbhost term open ENV{place}", "a shell in it"),
        (f"bbhost status{place}", "how the daemon is"),
    ):
        say(f"  {command:<40} # {what}")
    say()
    say("Ctrl-C stops both.")


def _is_default(data_dir: Path) -> bool:
    from bbhost.daemon.config import load_config

    return load_config().data_dir == data_dir
