"""``bbhost gc``: what is left over, and removing it."""

from typing import Annotated, Any

import typer

from bbhost.cli.commanding import Answer, Cli, local_command
from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.cli.printing import clean, say, say_table

COLLECT_SECONDS = 600.0
"""Rescuing the work of many leftovers takes its time."""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @local_command(app, "gc")
    async def gc(
        cli: Cli,
        dry_run: Annotated[
            bool, typer.Option("--dry-run/--no-dry-run", help="Only show what would go.")
        ] = True,
        include_unclear: Annotated[
            list[str] | None,
            typer.Option(
                help="Id of a leftover that is to go although nothing says it may.", metavar="ID"
            ),
        ] = None,
    ) -> Answer | None:
        """Remove leftovers of destroyed environments, and rescued work and trash past their time.

        Without --no-dry-run nothing is changed. What is not clear is shown, and only goes by its id.
        """
        report = await _collect(cli, dry_run, include_unclear or [])
        failed = report["unknownIds"] or any(
            item["outcome"] in {"failed", "refused"} for item in report["items"]
        )
        return Answer(report, lambda: _show(report), Outcome.FAILED if failed else Outcome.OK)


async def _collect(cli: Cli, dry_run: bool, unclear: list[str]) -> dict[str, Any]:
    from bbhost.cli.control import ask_daemon

    config = cli.place.config()
    body = {"dryRun": dry_run, "includeUnclear": unclear}
    try:
        report: dict[str, Any] = await ask_daemon(
            config, "POST", "/gc", seconds=COLLECT_SECONDS, body=body
        )
    except CommandError as error:
        if error.outcome is not Outcome.UNREACHABLE:
            raise
        from bbhost.daemon.collecting import GcRequest
        from bbhost.daemon.offline import collect_offline

        request = GcRequest(dry_run, frozenset(unclear))
        return (await collect_offline(config, request)).to_json()
    return report


def _show(report: dict[str, Any]) -> None:
    if not report["items"]:
        say("Nothing is left over.")
    else:
        say_table(
            ["outcome", "kind", "id", "because"],
            [
                (
                    one["outcome"],
                    one["kind"],
                    one["id"],
                    one["detail"] or "; ".join(one["evidence"]),
                )
                for one in report["items"]
            ],
        )
    for unknown in report["unknownIds"]:
        say(f"! no leftover is called {clean(unknown)}")
    if report["dryRun"] and any(one["outcome"] == "would_remove" for one in report["items"]):
        say("Nothing was changed. To remove: bbhost gc --no-dry-run")
