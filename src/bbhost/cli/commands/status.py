"""``bbhost status``: how the daemon of this data directory is."""

from typing import Annotated, Any

import typer

from bbhost.cli.commanding import Answer, Cli, local_command
from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.cli.printing import clean, say, say_facts, say_table, span
from bbhost.toolkit.counted import counted


def register(app: typer.Typer) -> None:
    """Add the command."""

    @local_command(app, "status")
    async def status(
        cli: Cli,
        deadline: Annotated[
            float, typer.Option(help="Seconds after which a silent daemon counts as stalled.")
        ] = 5.0,
    ) -> Answer | None:
        """Tell how the daemon is. Exit codes: 0 healthy, 3 not running, 69 degraded, 75 stalled."""
        from bbhost.cli.control import ask_daemon

        try:
            config = cli.place.config()
            found = await ask_daemon(config, "GET", "/status", seconds=deadline)
            found["health"] = await ask_daemon(config, "GET", "/health", seconds=deadline)
        except CommandError as error:
            health = {Outcome.UNREACHABLE: "dead", Outcome.TIMEOUT: "stalled"}.get(error.outcome)
            if health is None:
                raise
            reason = error.message
            return Answer(
                {"health": health, "reason": reason},
                lambda: say(f"{health}: {clean(reason)}"),
                error.outcome,
            )
        troubles = troubles_of(found)
        health = "degraded" if troubles else "healthy"
        outcome = Outcome.UNAVAILABLE if troubles else Outcome.OK
        if found["health"]["health"] == "stalled":
            health, outcome = "stalled", Outcome.TIMEOUT
        return Answer(
            {"health": health, "troubles": troubles, "daemon": found},
            lambda: _show(found, health, troubles),
            outcome,
        )


def troubles_of(found: dict[str, Any]) -> list[str]:
    """Return what keeps a daemon from doing all of its work, each as a sentence."""
    troubles = []
    session = found["session"]
    if session["state"] != "open":
        because = f": {session['trouble']}" if session["trouble"] else ""
        troubles.append(f"no session with {found['serverUrl']} ({session['state']}{because})")
    for environment in found["environmentList"]:
        told = (environment["watchTrouble"], environment["teardownTrouble"])
        troubles += [f"{environment['id']}: {trouble}" for trouble in told if trouble]
    # What it knows of itself beyond that; the session has been told of, better.
    troubles += [one for one in found["health"]["reasons"] if not one.startswith("no session")]
    if found["processes"]["survivors"]:
        troubles.append(
            counted(found["processes"]["survivors"], "process", "processes")
            + " could not be ended"
        )
    return troubles


def _show(found: dict[str, Any], health: str, troubles: list[str]) -> None:
    counts = ", ".join(f"{count} {state}" for state, count in found["environments"].items())
    watch, git = found["watch"], found["git"]
    say_facts(
        [
            ("health", health),
            (
                "daemon",
                f"pid {found['pid']}, version {found['version']}, up {span(found['uptimeMs'])}",
            ),
            ("data", found["dataDir"]),
            ("server", f"{found['serverUrl']} ({found['session']['state']})"),
            ("environments", counts or "none"),
            ("terminals", found["terminals"]),
            ("watches", f"{watch['kernelWatches']} of {watch['budget']} ({watch['backend']})"),
            ("processes", f"{found['processes']['children']} ({found['processes']['boundary']})"),
            ("git processes", git["processes"]),
        ]
    )
    for trouble in troubles:
        say(f"! {clean(trouble)}")
    if found["environmentList"]:
        say()
        say_table(
            ["environment", "state", "life", "activities", "path"],
            [
                (
                    one["id"],
                    one["state"],
                    one["incarnation"],
                    ",".join(one["activities"]),
                    one["path"],
                )
                for one in found["environmentList"]
            ],
        )
