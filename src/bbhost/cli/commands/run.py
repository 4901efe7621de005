"""``bbhost run``: a worktree, an agent and a prompt, in one command."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bbhost.cli.commanding import Answer, Cli, hub_command
from bbhost.cli.commands import threads
from bbhost.cli.commands.environments import note_how_to_go_on, show_entry
from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.cli.printing import clean, note

if TYPE_CHECKING:
    from bbhost.cli.client import HubClient
    from bbhost.cli.endings import Deed, Work
    from bbhost.hub.api.environments import Environment
    from bbhost.hub.api.threads import ExecutionChoice

DEEDS = "keep, commit, merge or destroy"


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
        then: Annotated[
            list[str] | None,
            typer.Option(
                help=f"What to do with the work: {DEEDS}; may be given several times. "
                "Asked at a terminal, else kept."
            ),
        ] = None,
        into: Annotated[
            str | None,
            typer.Option(help="Local branch to merge into; the repository's default branch."),
        ] = None,
        message: Annotated[
            str | None,
            typer.Option("--message", "-m", help="Of commits; the prompt's first line."),
        ] = None,
        destroy: Annotated[
            bool, typer.Option("--destroy", help="The same as --then destroy.")
        ] = False,
    ) -> Answer | None:
        """Make a worktree, give an agent a prompt in it, follow the turn, and deal with the result.

        Without a terminal the work is kept unless --then says otherwise. Nothing is committed or merged
        after a turn that did not complete, and nothing destroyed after a step that was not done.
        """
        from bbhost.cli.asking import can_ask
        from bbhost.cli.endings import Work, message_of
        from bbhost.cli.following import follow_until_settled
        from bbhost.cli.offering import offer
        from bbhost.hub.api.environments import (
            CreateEnvironment,
            Environment,
            RequestedWorkspace,
        )

        deeds = _deeds([*(then or ()), *(["destroy"] if destroy else ())])
        execution = threads.choose(model, permissions)
        place = str(repo.expanduser().resolve())
        wanted = RequestedWorkspace("managed-worktree", source_path=place)
        async with cli.client() as client:
            made = await client.post(Environment, "/environments", CreateEnvironment(wanted))
            made = await follow_until_settled(client, made.id, None if cli.json else show_entry)
            if made.error is not None:
                note_how_to_go_on(made)
                raise CommandError(Outcome.FAILED, made.error.message, code=made.error.code)
            turn = await _turn(cli, client, made, provider, prompt, execution)
            work = Work(client, made, message or message_of(prompt), into or made.default_branch)
            if deeds:
                await work.do_all(deeds, completed=turn.outcome is Outcome.OK)
                if not cli.json:
                    for one in work.done:
                        note(f"= {clean(one.told)}")
            elif can_ask(as_json=cli.json):
                await offer(work)
            return _answer(turn, work, is_script=bool(deeds))


def _deeds(words: list[str]) -> "list[Deed]":
    """Understand ``--then``.

    Raises:
        typer.BadParameter: a word is unknown, or what it asks for makes no sense.
    """
    from bbhost.cli.endings import Deed

    try:
        deeds = [Deed(word) for word in words]
    except ValueError:
        raise typer.BadParameter(f"--then takes {DEEDS}") from None
    if Deed.KEEP in deeds and Deed.DESTROY in deeds:
        raise typer.BadParameter("--then keep and destroy exclude each other")
    if Deed.DESTROY in deeds[:-1] and set(deeds[deeds.index(Deed.DESTROY) :]) != {Deed.DESTROY}:
        raise typer.BadParameter("--then destroy must be the last")
    return list(dict.fromkeys(deeds))


async def _turn(
    cli: Cli,
    client: "HubClient",
    environment: "Environment",
    provider: str,
    prompt: str,
    execution: "ExecutionChoice | None",
) -> Answer:
    """The agent's turn. That it could not be had is an outcome: the environment is there."""
    thread_id: str | None = None
    try:
        thread = await threads.start_thread(
            client, environment.id, provider, prompt, execution=execution
        )
        thread_id = thread.id
        if not cli.json:
            note(f"(thread {clean(thread.id)}; Ctrl-C leaves the agent at work)")
        return await threads.follow_turn(cli, client, thread.id, 0)
    except CommandError as error:
        if error.outcome is Outcome.UNREACHABLE:
            raise
        if not cli.json:
            note(f"bbhost: {clean(error.message)}")
        fault = {"code": error.code, "message": error.message}
        return Answer(
            {"threadId": thread_id, "turnStatus": None, "error": fault},
            lambda: None,
            error.outcome,
        )


def _answer(turn: Answer, work: "Work", *, is_script: bool) -> Answer:
    environment = work.environment
    thread_id = turn.data["threadId"]

    def show() -> None:
        if work.is_destroyed:
            return
        name = clean(environment.id)
        note(f"(kept: environment {name} at {clean(environment.workspace_path)})")
        ways = [f"bbhost env diff {name}", f"bbhost env destroy {name}"]
        if thread_id is not None and turn.data["turnStatus"] is not None:
            ways.insert(0, f"bbhost thread send {clean(thread_id)} --wait TEXT")
        note(f"(go on: {'; '.join(ways)})")

    outcome = turn.outcome
    if outcome is Outcome.OK and is_script and work.has_failed:
        outcome = Outcome.FAILED
    data = {
        **turn.data,
        "environmentId": environment.id,
        "path": environment.workspace_path,
        "branch": environment.branch_name,
        "ending": work.ending,
        "then": [one.as_json() for one in work.done],
    }
    return Answer(data, show, outcome)
