"""``bbhost env``: the life of environments."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bbhost.cli.commanding import Answer, Cli, hub_command
from bbhost.cli.commands import workspaces
from bbhost.cli.commands.arguments import Named
from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.cli.printing import age, clean, note, say, say_facts, say_table

if TYPE_CHECKING:
    from bbhost.cli.client import HubClient
    from bbhost.domain.workspace import TranscriptEntry
    from bbhost.hub.api.environments import Environment

app = typer.Typer(
    name="env", help="Environments: places to work.", no_args_is_help=True, rich_markup_mode=None
)


@hub_command(app, "create")
async def create(
    cli: Cli,
    path: Annotated[
        Path, typer.Argument(metavar="[PATH]", help="A git repository on the host.")
    ] = Path(),
    name: Annotated[str | None, typer.Option(help="What to call it.")] = None,
    branch: Annotated[
        str | None, typer.Option(help="Branch of the worktree: continued if it exists, else made.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Branch to start at; a branch that exists is set to it.")
    ] = None,
    unmanaged: Annotated[
        bool, typer.Option("--unmanaged", help="Work in PATH itself; it is never removed.")
    ] = False,
    personal: Annotated[
        bool, typer.Option("--personal", help="An empty directory instead of a worktree.")
    ] = False,
    host: Annotated[
        str | None, typer.Option(help="Id of the host, where there are several.")
    ] = None,
    setup_timeout: Annotated[
        float | None, typer.Option(help="Seconds that the set-up script may take.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until it is ready, showing progress.")] = True,
) -> Answer | None:
    """Make an environment: a git worktree of the repository at PATH, unless told otherwise."""
    from bbhost.cli.following import follow_until_settled
    from bbhost.hub.api.environments import CreateEnvironment, Environment, RequestedWorkspace

    if unmanaged and personal:
        raise typer.BadParameter("--unmanaged and --personal exclude each other")
    kind = "unmanaged" if unmanaged else "personal" if personal else "managed-worktree"
    place = str(path.expanduser().absolute().resolve())
    wanted = RequestedWorkspace(
        kind,  # type: ignore[arg-type] # one of the three literals
        source_path=place if kind == "managed-worktree" else None,
        path=place if unmanaged else None,
        branch_name=branch,
        base_branch=base,
        setup_timeout_ms=int(setup_timeout * 1000) if setup_timeout else None,
    )
    async with cli.client() as client:
        made = await client.post(
            Environment, "/environments", CreateEnvironment(wanted, host_id=host, name=name)
        )
        if wait:
            made = await follow_until_settled(client, made.id, None if cli.json else show_entry)
    return _provisioned(made)


@hub_command(app, "ls")
async def list_all(
    cli: Cli,
    everything: Annotated[bool, typer.Option("--all", help="Destroyed ones too.")] = False,
    host: Annotated[str | None, typer.Option(help="Of this host only.")] = None,
) -> Answer | None:
    """List environments."""
    from bbhost.contract.codec import unstructure
    from bbhost.hub.api.environments import EnvironmentList

    async with cli.client() as client:
        found = await client.get(
            EnvironmentList, "/environments", include_destroyed=everything, host_id=host
        )
    rows = [
        (one.id, one.name if one.name != one.id else None, one.state, one.branch_name,
         age(one.created_at), one.workspace_path)
        for one in found.environments
    ]  # fmt: skip
    return Answer(
        unstructure(found),
        lambda: (
            say_table(["id", "name", "state", "branch", "age", "path"], rows)
            if rows
            else say("No environments; 'bbhost env create PATH' makes one.")
        ),
    )


@hub_command(app, "show")
async def show(cli: Cli, environment: Named) -> Answer | None:
    """Show one environment."""
    from bbhost.cli.following import find_environment

    async with cli.client() as client:
        found = await find_environment(client, environment)
        return _answer(found, branch=await _branch_now(client, found))


@hub_command(app, "destroy")
async def destroy(
    cli: Cli,
    environment: Named,
    wait: Annotated[bool, typer.Option(help="Wait until it is gone.")] = True,
) -> Answer | None:
    """Destroy an environment: its processes end, its managed worktree is removed."""
    from bbhost.cli.following import environment_path, find_environment, follow_until_settled
    from bbhost.hub.api.environments import Environment, ServerState

    async with cli.client() as client:
        found = await find_environment(client, environment)
        found = await client.delete(Environment, environment_path(found.id))
        if wait:
            found = await follow_until_settled(client, found.id)
    gone = found.state in {ServerState.DESTROYED, ServerState.DESTROYING}
    return _answer(found, Outcome.OK if gone else Outcome.FAILED)


@hub_command(app, "provision")
async def provision(cli: Cli, environment: Named) -> Answer | None:
    """Provision a destroyed or failed environment again, as a new life of it."""
    from bbhost.cli.following import environment_path, find_environment, follow_until_settled
    from bbhost.hub.api.environments import Environment, ProvisionAgain

    async with cli.client() as client:
        found = await find_environment(client, environment)
        path = environment_path(found.id, "/provision")
        await client.post(Environment, path, ProvisionAgain())
        found = await follow_until_settled(client, found.id, None if cli.json else show_entry)
    return _provisioned(found)


@hub_command(app, "watch")
async def watch(
    cli: Cli,
    environment: Annotated[
        str | None, typer.Argument(metavar="[ENV]", help="One environment; all if left out.")
    ] = None,
    count: Annotated[int | None, typer.Option(help="Stop after so many changes.")] = None,
) -> Answer | None:
    """Print changes as they happen, one line each, until Ctrl-C."""
    from bbhost.cli.following import find_environment
    from bbhost.cli.watching import watch_changes

    async with cli.client() as client:
        only = None
        if environment is not None:
            found = await find_environment(client, environment)
            only = found.id
            if found.state == "destroyed":
                note("(it is destroyed, and changes only when it is provisioned again)")
        await watch_changes(client.server, only, count, as_json=cli.json)
    return None


def show_entry(entry: "TranscriptEntry") -> None:
    """Print one line of a transcript beside the answer."""
    for line in entry.text.rstrip("\n").splitlines():
        note(f"  {clean(line)}" if entry.type == "step" else f"  | {clean(line)}")


def _provisioned(environment: "Environment") -> Answer:
    if environment.error is None:
        return _answer(environment)
    note_how_to_go_on(environment)
    return _answer(environment, Outcome.FAILED)


def note_how_to_go_on(environment: "Environment") -> None:
    """Say what can be done with an environment that could not be made."""
    note(
        f"It stays on the list: 'bbhost env provision {environment.id}' tries again, "
        f"'bbhost env destroy {environment.id}' takes it off."
    )


async def _branch_now(client: "HubClient", environment: "Environment") -> str | None:
    """The branch that it is on; the one that it was made on where that cannot be told."""
    from bbhost.cli.following import environment_path
    from bbhost.contract.results import WorkspaceStatusResult
    from bbhost.hub.api.environments import ServerState

    made_on = environment.branch_name
    if environment.state is not ServerState.READY or made_on is None:
        return made_on
    try:
        found = await client.get(
            WorkspaceStatusResult, environment_path(environment.id, "/status")
        )
    except CommandError:
        return made_on
    return found.workspace_status.branch.current_branch or "(detached)"


def _answer(
    environment: "Environment", outcome: Outcome = Outcome.OK, *, branch: str | None = None
) -> Answer:
    from bbhost.contract.codec import unstructure

    error = environment.error
    facts = [
        ("id", environment.id),
        ("name", environment.name if environment.name != environment.id else None),
        ("state", environment.state),
        ("path", environment.workspace_path),
        ("branch", branch or environment.branch_name),
        ("host", environment.host_id),
        ("age", age(environment.created_at)),
        ("error", f"{error.message} ({error.code})" if error is not None else None),
    ]
    return Answer({"environment": unstructure(environment)}, lambda: say_facts(facts), outcome)


workspaces.register(app)
