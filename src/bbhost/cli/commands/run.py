"""``bbhost run``: a worktree, an agent and a prompt, in one command."""

from pathlib import Path
from typing import Annotated

import typer

from bbhost.cli.commanding import Answer, Cli, hub_command
from bbhost.cli.commands import threads
from bbhost.cli.commands.environments import show_entry
from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.cli.printing import clean, note


def register(app: typer.Typer) -> None:
    """Add the command."""

    @hub_command(app, "run")
    async def run(
        cli: Cli,
        prompt: threads.Prompt,
        provider: threads.Provider,
        repo: Annotated[Path, typer.Option(help="A git repository on the host.")] = Path(),
        model: threads.Model = None,
        permissions: threads.Mode = None,
        destroy: Annotated[
            bool, typer.Option("--destroy", help="Destroy the environment after the turn.")
        ] = False,
    ) -> Answer | None:
        """Make a worktree, give an agent a prompt in it, and follow until the turn ends."""
        from bbhost.cli.following import environment_path, follow_until_settled
        from bbhost.hub.api.environments import (
            CreateEnvironment,
            Environment,
            RequestedWorkspace,
        )

        place = str(repo.expanduser().resolve())
        wanted = RequestedWorkspace("managed-worktree", source_path=place)
        async with cli.client() as client:
            made = await client.post(Environment, "/environments", CreateEnvironment(wanted))
            made = await follow_until_settled(client, made.id, None if cli.json else show_entry)
            if made.error is not None:
                raise CommandError(Outcome.FAILED, made.error.message, code=made.error.code)
            thread = await threads.start_thread(
                client, made.id, provider, prompt, execution=threads.choose(model, permissions)
            )
            answer = await threads.follow_turn(cli, client, thread.id, 0)
            if destroy:
                await client.delete(Environment, environment_path(made.id))
                await follow_until_settled(client, made.id)
            elif not cli.json:
                note(f"(environment {clean(made.id)}: {clean(made.workspace_path)})")
            return Answer(
                {**answer.data, "environmentId": made.id, "path": made.workspace_path},
                answer.show,
                answer.outcome,
            )
