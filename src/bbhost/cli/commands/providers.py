"""``bbhost providers``: the agents that a host can run."""

from typing import TYPE_CHECKING, Annotated

import typer

from bbhost.cli.commanding import Answer, Cli, hub_command
from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.cli.printing import say, say_table

if TYPE_CHECKING:
    from bbhost.cli.client import HubClient

app = typer.Typer(
    name="providers", help="Providers of agents.", no_args_is_help=True, rich_markup_mode=None
)
Host = Annotated[str | None, typer.Option(help="Id of the host, where there are several.")]


@hub_command(app, "ls")
async def list_all(cli: Cli, host: Host = None) -> Answer | None:
    """List the providers of a host, and whether their programs are there."""
    from bbhost.cli.client import segment
    from bbhost.contract.codec import unstructure
    from bbhost.contract.results import ProviderListResult

    async with cli.client() as client:
        host_id = await _only_host(client, host)
        found = await client.get(ProviderListResult, f"/hosts/{segment(host_id)}/providers")
    rows = [
        (one.id, one.display_name, "yes" if one.available else "no") for one in found.providers
    ]
    return Answer(
        {"hostId": host_id, **unstructure(found)},
        lambda: say_table(["id", "name", "available"], rows) if rows else say("No providers."),
    )


@hub_command(app, "models")
async def models(
    cli: Cli,
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="Id of a provider.")],
    host: Host = None,
) -> Answer | None:
    """List the models of a provider."""
    from bbhost.cli.client import segment
    from bbhost.contract.codec import unstructure
    from bbhost.contract.results import ProviderListModelsResult

    async with cli.client() as client:
        host_id = await _only_host(client, host)
        path = f"/hosts/{segment(host_id)}/providers/{segment(provider)}/models"
        found = await client.get(ProviderListModelsResult, path)
    rows = [
        (one.id, one.display_name, "default" if one.is_default else None, one.description)
        for one in found.models
    ]
    return Answer(
        {"hostId": host_id, **unstructure(found)},
        lambda: say_table(["id", "name", "", "description"], rows),
    )


async def _only_host(client: "HubClient", host: str | None) -> str:
    from bbhost.hub.api.hosts import HostList

    if host is not None:
        return host
    hosts = (await client.get(HostList, "/hosts")).hosts
    if len(hosts) != 1:
        why = f"There are {len(hosts)} hosts; name one with --host"
        raise CommandError(
            Outcome.REFUSED,
            why if hosts else "No host has joined this hub yet",
            code="host_required",
        )
    return hosts[0].id
