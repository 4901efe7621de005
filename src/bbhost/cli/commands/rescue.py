"""``bbhost rescue``: work that was saved from environments before they were destroyed."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import typer

from bbhost.cli.commanding import Answer, Cli, local_command
from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.cli.printing import age, clean, say, say_facts, say_table
from bbhost.toolkit.counted import counted

if TYPE_CHECKING:
    from bbhost.daemon.rescues import RescueDesk

RESCUE_SECONDS = 300.0
"""Giving back much work takes its time."""

app = typer.Typer(
    name="rescue",
    help="Work that was saved when environments were destroyed.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Environment id, or id/incarnation as 'ls' shows it.")
]
Repository = Annotated[
    Path | None,
    typer.Option(
        "--repo", help="Repository to look in; all known ones otherwise.", metavar="PATH"
    ),
]


@local_command(app, "ls")
async def list_all(cli: Cli, repo: Repository = None) -> Answer | None:
    """List rescued work, oldest first."""
    place = _absolute(repo)
    found = await _ask(
        cli,
        "GET",
        _with_query("/rescues", repository=place),
        None,
        lambda desk: desk.listing(_path(place)),
    )
    rows = [
        (
            one["name"],
            age(one["rescuedAtMs"]),
            one["branch"],
            ",".join(one["parts"]),
            one["repository"],
        )
        for one in found["rescues"]
    ]

    def show() -> None:
        if rows:
            say_table(["name", "age", "branch", "parts", "repository"], rows)
        else:
            say("Nothing was rescued.")
        for one in found["unreadable"]:
            say(f"! {clean(one['repository'])}: {clean(one['reason'])}")

    return Answer(found, show)


@local_command(app, "show")
async def show_one(cli: Cli, name: Name, repo: Repository = None) -> Answer | None:
    """Show what a rescue holds."""
    place = _absolute(repo)
    path = _with_query("/rescues/show", name=name, repository=place)
    found = await _ask(cli, "GET", path, None, lambda desk: desk.show(name, _path(place)))

    def show() -> None:
        rescue = found["rescue"]
        say_facts([(key, rescue[key]) for key in ("name", "path", "branch", "repository")])
        replaced = rescue["parts"].get("branch")
        if replaced is not None:
            say(
                f"branch: stood elsewhere before it was provisioned; "
                f"'git branch NAME {replaced[:12]}^' brings those commits back"
            )
        head = rescue["parts"].get("head")
        if head is not None:
            say(
                f"head: commits that no branch leads to; "
                f"'git branch NAME {head[:12]}' brings them back"
            )
        for part, files in found["files"].items():
            say(f"{part}:")
            for file in files:
                say(f"  {file['status']} {clean(file['path'])}")

    return Answer(found, show)


@local_command(app, "restore")
async def restore(
    cli: Cli,
    name: Name,
    target: Annotated[
        Path,
        typer.Argument(
            metavar="DIRECTORY",
            help="A new or empty directory, which becomes a worktree of the repository, or one that is.",
        ),
    ],
    repo: Repository = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that have other content.")
    ] = False,
) -> Answer | None:
    """Give rescued work back: bytes, modes and symbolic links, and what was staged."""
    place, where = _absolute(repo), target.absolute()
    body = {"name": name, "target": str(where), "repository": place, "overwrite": overwrite}
    found = await _ask(
        cli,
        "POST",
        "/rescues/restore",
        body,
        lambda desk: desk.restore(name, where, repository=_path(place), overwrite=overwrite),
    )
    count = len(found["written"])
    return Answer(
        found,
        lambda: say(
            counted(count, "file was", "files were") + f" given back in {clean(found['target'])}"
        ),
    )


@local_command(app, "drop")
async def drop(cli: Cli, name: Name, repo: Repository = None) -> Answer | None:
    """Forget rescued work."""
    place = _absolute(repo)
    found = await _ask(
        cli,
        "POST",
        "/rescues/drop",
        {"name": name, "repository": place},
        lambda desk: desk.drop(name, _path(place)),
    )
    return Answer(found, lambda: say(f"Dropped {clean(found['rescue']['name'])}."))


async def _ask(
    cli: Cli,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    offline: "Callable[[RescueDesk], Awaitable[dict[str, Any]]]",
) -> dict[str, Any]:
    """Ask the daemon, or do it here where none runs."""
    from bbhost.cli.control import ask_daemon

    config = cli.place.config()
    try:
        answer: dict[str, Any] = await ask_daemon(
            config, method, path, seconds=RESCUE_SECONDS, body=body
        )
    except CommandError as error:
        if error.outcome is not Outcome.UNREACHABLE:
            raise
        from bbhost.daemon.offline import rescue_desk_offline

        return await offline(await rescue_desk_offline(config))
    return answer


def _absolute(path: Path | None) -> str:
    return "" if path is None else str(path.absolute())


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _with_query(path: str, **values: str) -> str:
    given = {name: value for name, value in values.items() if value}
    return f"{path}?{urlencode(given)}" if given else path
