"""From a function to a command: the options every command has, and how every command ends.

A command takes a :class:`Cli` first and its own options after it. It returns an :class:`Answer`, which
is printed as a table or as JSON, or None where it has printed everything itself.
"""

import inspect
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from attrs import frozen

from bbhost.cli.outcomes import EXIT_CODES, ExitCode, Outcome, outcome_of
from bbhost.cli.place import Place
from bbhost.cli.printing import clean, note, say_json
from bbhost.errors import BbhostError

if TYPE_CHECKING:
    from bbhost.cli.client import HubClient

EXIT_BROKEN_PIPE = 141
"""The reader of our output has gone: what a shell shows for a program that SIGPIPE ended."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON with an enumerated outcome.")]
DataDir = Annotated[
    str | None,
    typer.Option("--data-dir", help="Data directory.  [env var: BBHOST_DATA_DIR]", metavar="DIR"),
]
ServerUrl = Annotated[
    str | None,
    typer.Option("--server", help="URL of the hub.  [env var: BBHOST_SERVER_URL]", metavar="URL"),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help="File of the hub's token.  [env var: BBHOST_TOKEN_FILE]",
        metavar="FILE",
    ),
]
_COMMON: tuple[tuple[str, Any, object], ...] = (
    ("server", ServerUrl, None),
    ("token_file", TokenFile, None),
    ("data_dir", DataDir, None),
    ("json", Json, False),
)
_LOCAL = _COMMON[2:]


@frozen
class Answer:
    """What a command found or did."""

    data: Mapping[str, Any]
    """Goes into the JSON document beside ``outcome``."""
    show: Callable[[], None]
    """Prints it for people."""
    outcome: Outcome = Outcome.OK
    code: int | None = None
    """Exit code, where it says more than the outcome's own."""


@frozen
class Cli:
    """One use of the command line."""

    place: Place
    json: bool

    def client(self) -> "AbstractAsyncContextManager[HubClient]":
        """Hold a client of the hub of this place.

        Raises:
            CommandError: no hub is known.
        """
        from bbhost.cli.client import open_client

        return open_client(self.place.find_server())


Body = Callable[..., Awaitable[Answer | None] | Answer | None]
"""A coroutine function, or a plain one where there is nothing to wait for."""


def hub_command(app: typer.Typer, name: str) -> Callable[[Body], Body]:
    """Register a function as a command that talks to a hub."""
    return partial(_register, app, name, _COMMON)


def local_command(app: typer.Typer, name: str) -> Callable[[Body], Body]:
    """Register a function as a command that needs no hub."""
    return partial(_register, app, name, _LOCAL)


def _register(
    app: typer.Typer, name: str, common: tuple[tuple[str, Any, object], ...], body: Body
) -> Body:
    _, *own = inspect.signature(body).parameters.values()
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter(option, keyword, default=default, annotation=annotation)
        for option, annotation, default in common
    ]

    def run(**given: Any) -> None:  # noqa: ANN401 - whatever the command declares
        place = Place(
            given.pop("server", None), given.pop("token_file", None), given.pop("data_dir")
        )
        as_json = given.pop("json")
        finish(body, Cli(place, as_json), given)

    run.__doc__ = body.__doc__
    run.__name__ = body.__name__
    run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in [*own, *added]}
    app.command(name)(run)
    return body


def finish(body: Body, cli: Cli, given: Mapping[str, Any]) -> None:
    """Run a command to its end, print its answer or its error, and exit.

    Raises:
        typer.Exit: always, unless the exit code is 0.
    """
    try:
        answer = _run(partial(body, cli, **given))
        if answer is not None:
            _print(answer, cli.json)
    except BrokenPipeError:
        # Python would write to the closed pipe once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(EXIT_BROKEN_PIPE) from None
    except KeyboardInterrupt:
        if cli.json:
            with suppress(OSError):  # what reads it may have been interrupted as well
                said = {"code": "interrupted", "message": "Interrupted"}
                say_json({"outcome": Outcome.INTERRUPTED, "error": said})
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except BbhostError as error:
        outcome = outcome_of(error)
        if cli.json:
            say_json({"outcome": outcome, "error": {"code": error.code, "message": error.message}})
        else:
            note(f"bbhost: {clean(error.message)}")
        raise typer.Exit(EXIT_CODES[outcome]) from None
    code = ExitCode.OK
    if answer is not None:
        code = EXIT_CODES[answer.outcome] if answer.code is None else ExitCode(answer.code)
    if code:
        raise typer.Exit(code)


def _print(answer: Answer, as_json: bool) -> None:
    if as_json:
        say_json({"outcome": answer.outcome, **answer.data})
    else:
        answer.show()


def _run(action: partial[Any]) -> Answer | None:
    """Run the command; expected errors come out of the groups of nurseries."""
    answer: Answer | None
    if not inspect.iscoroutinefunction(action):
        answer = action()
        return answer
    import trio

    try:
        answer = trio.run(action)
    except BaseExceptionGroup as group:
        # Ctrl-C counts whatever else it has brought about; errors only where all are expected.
        for kind in (KeyboardInterrupt, BrokenPipeError):
            found = group.subgroup(kind)
            if found is not None:
                raise _first(found) from group
        if group.split(BbhostError)[1] is None:
            raise _first(group) from group
        raise
    return answer


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
