"""``bbhost thread``: conversations with agents."""

from typing import TYPE_CHECKING, Annotated

import typer

from bbhost.cli.commanding import Answer, Cli, hub_command
from bbhost.cli.commands.arguments import Named
from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.cli.printing import age, clean, note, say, say_facts, say_table

if TYPE_CHECKING:
    from bbhost.cli.client import HubClient
    from bbhost.hub.api.threads import ExecutionChoice, Thread

app = typer.Typer(
    name="thread", help="Threads: conversations with agents.", no_args_is_help=True,
    rich_markup_mode=None,
)  # fmt: skip

ThreadId = Annotated[str, typer.Argument(metavar="THREAD", help="Id of a thread.")]
Prompt = Annotated[str, typer.Argument(help="What to say to the agent.")]
Provider = Annotated[str, typer.Option(help="Id of the provider; see 'bbhost providers ls'.")]
Model = Annotated[str | None, typer.Option(help="Model; see 'bbhost providers models'.")]
Mode = Annotated[str | None, typer.Option(help="Permissions: full, workspace-write or readonly.")]
Wait = Annotated[bool, typer.Option(help="Follow until the turn ends.")]


@hub_command(app, "start")
async def start(
    cli: Cli,
    environment: Named,
    prompt: Prompt,
    provider: Provider,
    title: Annotated[str | None, typer.Option(help="What to call it.")] = None,
    model: Model = None,
    permissions: Mode = None,
    wait: Wait = False,
) -> Answer | None:
    """Start a thread in an environment with its first turn."""
    from bbhost.cli.following import find_environment

    async with cli.client() as client:
        found = await find_environment(client, environment)
        thread = await start_thread(
            client, found.id, provider, prompt, title=title, execution=choose(model, permissions)
        )
        if wait:
            return await follow_turn(cli, client, thread.id, 0)
    return _answer(thread)


@hub_command(app, "send")
async def send(
    cli: Cli, thread: ThreadId, prompt: Prompt, model: Model = None, wait: Wait = False
) -> Answer | None:
    """Say more: steers the turn under way, or starts one."""
    return await _submit(cli, thread, prompt, None, model=model, wait=wait)


@hub_command(app, "steer")
async def steer(cli: Cli, thread: ThreadId, prompt: Prompt) -> Answer | None:
    """Say something to the turn under way; the agent's next turn where it cannot be steered."""
    return await _submit(cli, thread, prompt, "steer", model=None, wait=False)


@hub_command(app, "stop")
async def stop(cli: Cli, thread: ThreadId) -> Answer | None:
    """Interrupt the turn under way."""
    from bbhost.cli.thread_following import thread_path
    from bbhost.hub.api.threads import Thread

    async with cli.client() as client:
        return _answer(await client.post(Thread, thread_path(thread, "/stop")))


@hub_command(app, "ls")
async def list_all(
    cli: Cli,
    environment: Annotated[
        str | None, typer.Argument(metavar="[ENV]", help="Of one environment only.")
    ] = None,
) -> Answer | None:
    """List threads."""
    from bbhost.cli.following import find_environment
    from bbhost.contract.codec import unstructure
    from bbhost.hub.api.threads import ThreadList

    async with cli.client() as client:
        only = (await find_environment(client, environment)).id if environment else None
        found = await client.get(ThreadList, "/threads", environment_id=only)
    rows = [
        (one.id, one.environment_id, one.provider_id, one.state, one.title, age(one.updated_at))
        for one in found.threads
    ]
    headers = ["id", "environment", "provider", "state", "title", "changed"]
    return Answer(
        unstructure(found), lambda: say_table(headers, rows) if rows else say("No threads.")
    )


@hub_command(app, "follow")
async def follow(
    cli: Cli,
    thread: ThreadId,
    after: Annotated[int, typer.Option(help="Only events after this sequence.")] = 0,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="Stop when a turn has ended.")
    ] = False,
) -> Answer | None:
    """Print what happens in a thread, from its beginning, as it happens."""
    from bbhost.cli.asking import asking
    from bbhost.cli.thread_following import print_events

    async with cli.client() as client, asking(client, thread, as_json=cli.json):
        await print_events(client, thread, after, as_json=cli.json, until_idle=until_idle)
    return None


@hub_command(app, "approve")
async def approve(
    cli: Cli,
    thread: ThreadId,
    question: Annotated[
        str | None, typer.Option(help="Id of the question, where there are several.")
    ] = None,
    for_session: Annotated[
        bool, typer.Option("--for-session", help="Also what is like it, for the session.")
    ] = False,
    deny: Annotated[bool, typer.Option("--deny", help="Say no.")] = False,
    answer: Annotated[
        str | None, typer.Option(help="Answer a question in words, or by an option's value.")
    ] = None,
) -> Answer | None:
    """Answer what an agent asks: allow once, unless told otherwise."""
    from bbhost.cli.client import segment
    from bbhost.cli.questions import choose_resolution
    from bbhost.cli.thread_following import open_questions
    from bbhost.contract.codec import unstructure
    from bbhost.hub.api.threads import Interaction, ResolveInteraction

    async with cli.client() as client:
        asked = [one for one in await open_questions(client, thread) if question in {None, one.id}]
        if not asked:
            raise CommandError(
                Outcome.NOT_FOUND, f"Thread {thread} asks nothing", code="interaction_not_found"
            )
        if len(asked) > 1:
            ids = ", ".join(one.id for one in asked)
            raise CommandError(
                Outcome.REFUSED, f"Several questions are open; name one: {ids}", code="ambiguous"
            )
        resolution = choose_resolution(asked[0], deny=deny, for_session=for_session, answer=answer)
        resolved = await client.post(
            Interaction,
            f"/interactions/{segment(asked[0].id)}/resolve",
            ResolveInteraction(resolution),
        )
    return Answer(
        {"interaction": unstructure(resolved)},
        lambda: say(f"{clean(resolved.id)}: {clean(resolved.status)}"),
    )


@hub_command(app, "questions")
async def questions(
    cli: Cli,
    thread: Annotated[
        str | None, typer.Argument(metavar="[THREAD]", help="Of one thread.")
    ] = None,
) -> Answer | None:
    """List what agents are waiting to be told."""
    from bbhost.cli.questions import describe
    from bbhost.cli.thread_following import open_questions
    from bbhost.contract.codec import unstructure

    async with cli.client() as client:
        asked = await open_questions(client, thread)
    rows = [(one.id, one.thread_id, age(one.created_at), describe(one)) for one in asked]
    return Answer(
        {"interactions": unstructure(asked)},
        lambda: say_table(["id", "thread", "age", "asks"], rows) if rows else say("No questions."),
    )


def choose(model: str | None, permissions: str | None) -> "ExecutionChoice | None":
    """Return how a turn is to run; None where nothing was said about it."""
    from bbhost.contract.codec import structure
    from bbhost.errors import WireError
    from bbhost.hub.api.threads import ExecutionChoice

    given = {"model": model, "permissionMode": permissions}
    chosen = {name: value for name, value in given.items() if value is not None}
    try:
        return structure(ExecutionChoice, chosen) if chosen else None
    except WireError as error:
        raise typer.BadParameter(error.message) from error


async def start_thread(
    client: "HubClient",
    environment_id: str,
    provider: str,
    prompt: str,
    *,
    title: str | None = None,
    execution: "ExecutionChoice | None" = None,
) -> "Thread":
    """Start a thread with its first turn."""
    from bbhost.hub.api.threads import StartThread, Thread

    wanted = StartThread(environment_id, provider, prompt=prompt, title=title, execution=execution)
    return await client.post(Thread, "/threads", wanted)


async def follow_turn(cli: Cli, client: "HubClient", thread_id: str, after: int) -> Answer:
    """Print a turn until it ends; the outcome is the turn's."""
    from bbhost.cli import thread_following

    end = await thread_following.follow_turn(client, thread_id, after, as_json=cli.json)
    status = end["status"]
    outcome = {"completed": Outcome.OK, "interrupted": Outcome.INTERRUPTED}.get(
        status, Outcome.FAILED
    )
    return Answer(
        {"threadId": thread_id, "turnStatus": status},
        lambda: note(f"(thread {clean(thread_id)})"),
        outcome,
    )


async def _submit(
    cli: Cli, thread_id: str, prompt: str, mode: str | None, *, model: str | None, wait: bool
) -> Answer:
    from bbhost.cli.thread_following import thread_path
    from bbhost.contract.codec import unstructure
    from bbhost.hub.api.threads import SubmittedTurn, SubmitTurn, Thread

    async with cli.client() as client:
        before = await client.get(Thread, thread_path(thread_id))
        wanted = SubmitTurn(
            prompt=prompt,
            mode=mode,  # type: ignore[arg-type] # "steer" or None
            execution=choose(model, None),
        )
        taken = await client.post(SubmittedTurn, thread_path(thread_id, "/turns"), wanted)
        if wait:
            return await follow_turn(cli, client, thread_id, before.last_sequence)
    return Answer(unstructure(taken), lambda: say(f"Taken as {clean(taken.applied_as)}."))


def _answer(thread: "Thread") -> Answer:
    from bbhost.contract.codec import unstructure

    error = thread.error
    facts = [
        ("id", thread.id),
        ("environment", thread.environment_id),
        ("provider", thread.provider_id),
        ("state", thread.state),
        ("title", thread.title),
        ("error", f"{error.message} ({error.code})" if error is not None else None),
    ]
    return Answer({"thread": unstructure(thread)}, lambda: say_facts(facts))
