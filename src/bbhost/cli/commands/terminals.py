"""``bbhost term``: terminals of environments."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bbhost.cli.commanding import Answer, Cli, hub_command
from bbhost.cli.commands.arguments import Named
from bbhost.cli.outcomes import Outcome
from bbhost.cli.printing import age, clean, note, say, say_table

if TYPE_CHECKING:
    from bbhost.cli.terminal.attach import Attachment

app = typer.Typer(
    name="term",
    help="Terminals in environments. ctrl-p ctrl-q, or ctrl-\\, leaves one running.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
TerminalId = Annotated[str, typer.Argument(metavar="TERM", help="Id of a terminal.")]


@hub_command(app, "open")
async def open_terminal(
    cli: Cli,
    environment: Named,
    detached: Annotated[
        bool, typer.Option("--detached", help="Do not attach. Implied by --json.")
    ] = False,
) -> Answer | None:
    """Open a terminal and attach to it. ctrl-p ctrl-q, or ctrl-\\, leaves it running."""
    from bbhost.cli.following import environment_path, find_environment
    from bbhost.cli.terminal.local import window_size
    from bbhost.contract.codec import unstructure
    from bbhost.hub.api.terminals import OpenTerminal, Terminal

    async with cli.client() as client:
        found = await find_environment(client, environment)
        terminal = await client.post(
            Terminal, environment_path(found.id, "/terminals"), OpenTerminal(*window_size())
        )
        if detached or cli.json:
            return Answer({"terminal": unstructure(terminal)}, lambda: say(clean(terminal.id)))
        return await _attach(client.server, terminal.id)


@hub_command(app, "attach")
async def attach(cli: Cli, terminal: TerminalId) -> Answer | None:
    """Attach to a terminal, seeing what it has printed. ctrl-p ctrl-q, or ctrl-\\, leaves it."""
    return await _attach(cli.place.find_server(), terminal)


@hub_command(app, "ls")
async def list_all(
    cli: Cli,
    environment: Annotated[
        str | None, typer.Argument(metavar="[ENV]", help="Of one environment only.")
    ] = None,
) -> Answer | None:
    """List terminals; exited ones are remembered for a while."""
    from bbhost.cli.following import environment_path, find_environment
    from bbhost.contract.codec import unstructure
    from bbhost.hub.api.terminals import TerminalList

    async with cli.client() as client:
        path = "/terminals"
        if environment is not None:
            path = environment_path((await find_environment(client, environment)).id, path)
        found = await client.get(TerminalList, path)
    rows = [
        (one.id, one.environment_id, one.state, one.title, f"{one.cols}x{one.rows}",
         age(one.created_at), one.close_reason)
        for one in found.terminals
    ]  # fmt: skip
    headers = ["id", "environment", "state", "title", "size", "age", "ended"]
    return Answer(
        unstructure(found),
        lambda: say_table(headers, rows) if rows else say("No terminals."),
    )


@hub_command(app, "close")
async def close(cli: Cli, terminal: TerminalId) -> Answer | None:
    """End a terminal and what runs in it."""
    from bbhost.cli.client import segment
    from bbhost.contract.codec import unstructure
    from bbhost.hub.api.terminals import Terminal

    async with cli.client() as client:
        found = await client.delete(Terminal, f"/terminals/{segment(terminal)}")
    return Answer({"terminal": unstructure(found)}, lambda: say(f"{clean(found.id)} ends."))


async def _attach(server: Any, terminal_id: str) -> Answer:  # noqa: ANN401 - a Server
    from bbhost.cli.terminal.attach import attach

    attachment = await attach(server, terminal_id)
    outcome = Outcome.OK
    if attachment.exited is not None and attachment.exited.exit_code:
        outcome = Outcome.FAILED
    data = {
        "terminalId": terminal_id,
        "detached": attachment.detached,
        "exitCode": attachment.exited.exit_code if attachment.exited else None,
        "closeReason": attachment.exited.close_reason if attachment.exited else None,
    }
    return Answer(data, lambda: _say_goodbye(terminal_id, attachment), outcome)


def _say_goodbye(terminal_id: str, attachment: "Attachment") -> None:
    if attachment.exited is None:
        note(f"\n[left running; 'bbhost term attach {clean(terminal_id)}' comes back]")
        return
    code = attachment.exited.exit_code
    how = f"exit code {code}" if code is not None else attachment.exited.close_reason
    # A shell that ended has ended its line; one that was ended stands at a prompt.
    start = "" if code is not None else "\n"
    note(f"{start}[the terminal has ended: {clean(how)}]")
