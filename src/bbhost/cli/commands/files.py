"""``bbhost files``: the files of an environment, as its host sees them."""

import base64
import sys
from typing import Annotated

import typer

from bbhost.cli.commanding import Answer, Cli, hub_command
from bbhost.cli.commands.arguments import Named
from bbhost.cli.printing import clean, clean_lines, note, say

app = typer.Typer(
    name="files", help="Files of environments.", no_args_is_help=True, rich_markup_mode=None
)


@hub_command(app, "ls")
async def list_files(
    cli: Cli,
    environment: Named,
    query: Annotated[str | None, typer.Argument(help="Rank by likeness to this.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.")] = 1_000,
) -> Answer | None:
    """List the files of a workspace; those that git ignores are left out."""
    from bbhost.cli.client import segment
    from bbhost.cli.following import find_environment
    from bbhost.contract.codec import unstructure
    from bbhost.contract.results import HostListFilesResult

    async with cli.client() as client:
        found = await find_environment(client, environment)
        listed = await client.get(
            HostListFilesResult,
            f"/hosts/{segment(found.host_id)}/files",
            path=found.workspace_path,
            query=query,
            limit=limit,
        )

    def show() -> None:
        for file in listed.files:
            say(clean(file.path))
        if listed.truncated:
            note("(more; --limit shows them)")

    return Answer({"environmentId": found.id, **unstructure(listed)}, show)


@hub_command(app, "cat")
async def cat(
    cli: Cli,
    environment: Named,
    path: Annotated[str, typer.Argument(help="Relative to the workspace.")],
    ref: Annotated[str | None, typer.Option(help="As of this commit.")] = None,
) -> Answer | None:
    """Print a file: as it is into a file or pipe, with control characters escaped on a terminal."""
    from pathlib import PurePosixPath

    from bbhost.cli.client import segment
    from bbhost.cli.following import find_environment
    from bbhost.contract.codec import unstructure
    from bbhost.contract.results import FileRead

    async with cli.client() as client:
        found = await find_environment(client, environment)
        read = await client.get(
            FileRead,
            f"/hosts/{segment(found.host_id)}/file",
            path=str(PurePosixPath(found.workspace_path) / path),
            root_path=found.workspace_path,
            ref=ref,
        )

    def show() -> None:
        content = read.content.encode("utf-8", "surrogatepass")
        if read.content_encoding == "base64":
            content = base64.b64decode(read.content)
        if sys.stdout.isatty():
            say(clean_lines(content.decode("utf-8", "backslashreplace")).removesuffix("\n"))
        else:
            sys.stdout.flush()
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()

    return Answer({"environmentId": found.id, "file": unstructure(read)}, show)
