"""The WebSocket messages of both directions (section 4).

What a daemon sends is strict: a server closes the socket over one unknown key. What a server sends
is strict at the origin too, but a daemon made of this package reads it tolerantly, so that a newer
server can say more; ``strict=True`` is for the servers and tests that must refuse as the stock one.
"""

import binascii
import json
from enum import StrEnum
from functools import lru_cache
from typing import Any, ClassVar, get_args

from bbhost.contract.codec import encode_json, parse_json, structure
from bbhost.contract.fields import Columns, Count, NonEmpty, Rows, TerminalBytes
from bbhost.contract.wire import named
from bbhost.contract.wire_class import wire_class
from bbhost.domain.ids import EnvironmentId, TerminalId, ThreadId
from bbhost.domain.workspace import WorkspaceContext
from bbhost.errors import WireError

UNKNOWN_MESSAGE = "unknown_message"
"""Error code of a message whose type is not of this contract."""
INVALID_MESSAGE = "invalid_message"
"""Error code of every other message that cannot be read."""


class SessionCloseReason(StrEnum):
    """Why a server ends a session."""

    REPLACED = "replaced"
    EXPIRED = "expired"
    DAEMON_DISCONNECT = "daemon-disconnect"


class TerminalCloseReason(StrEnum):
    """Why a terminal ends."""

    USER = "user"
    PROCESS_EXIT = "process-exit"
    DAEMON_DISCONNECT = "daemon-disconnect"
    ENVIRONMENT_DESTROYED = "environment-destroyed"
    THREAD_ARCHIVED = "thread-archived"
    THREAD_DELETED = "thread-deleted"
    OPEN_TIMEOUT = "open-timeout"


# --- server to daemon -----------------------------------------------------------------------


@wire_class
class CommandsAvailable:
    """A hint to fetch commands; there may be none."""

    TYPE: ClassVar[str] = "commands-available"


@wire_class
class SessionClose:
    """The session is over."""

    TYPE: ClassVar[str] = "session-close"
    reason: SessionCloseReason


@wire_class
class TerminalOpen:
    """Start a shell in a workspace."""

    TYPE: ClassVar[str] = "terminal.open"
    request_id: NonEmpty
    terminal_id: TerminalId
    thread_id: ThreadId
    environment_id: EnvironmentId
    workspace_context: WorkspaceContext
    cols: Columns
    rows: Rows


@wire_class
class TerminalAttach:
    """Send again what is remembered of a terminal, from a sequence number on."""

    TYPE: ClassVar[str] = "terminal.attach"
    request_id: NonEmpty
    terminal_id: TerminalId
    since_seq: Count


@wire_class
class TerminalInput:
    """Bytes for the shell; base64 on the wire."""

    TYPE: ClassVar[str] = "terminal.input"
    terminal_id: TerminalId
    data: TerminalBytes = named("dataBase64")


@wire_class
class TerminalResize:
    """The terminal has another size."""

    TYPE: ClassVar[str] = "terminal.resize"
    terminal_id: TerminalId
    cols: Columns
    rows: Rows


@wire_class
class TerminalClose:
    """End a terminal."""

    TYPE: ClassVar[str] = "terminal.close"
    terminal_id: TerminalId
    reason: TerminalCloseReason


ServerMessage = (
    CommandsAvailable
    | SessionClose
    | TerminalOpen
    | TerminalAttach
    | TerminalInput
    | TerminalResize
    | TerminalClose
)


# --- daemon to server -----------------------------------------------------------------------


@wire_class
class Heartbeat:
    """The daemon is there; every message renews the lease, this one does nothing else."""

    TYPE: ClassVar[str] = "heartbeat"
    STRICT: ClassVar[bool] = True


@wire_class
class TerminalOpened:
    """The shell runs. ``title`` becomes the title of its tab."""

    TYPE: ClassVar[str] = "terminal.opened"
    STRICT: ClassVar[bool] = True
    request_id: NonEmpty
    terminal_id: TerminalId
    shell: NonEmpty
    title: NonEmpty
    initial_cwd: NonEmpty
    current_cwd: str | None
    cols: Columns
    rows: Rows


@wire_class
class TerminalChunk:
    """One piece of output; base64 on the wire. Numbers count up by one from 0."""

    STRICT: ClassVar[bool] = True
    seq: Count
    data: TerminalBytes = named("dataBase64")


@wire_class
class TerminalOutput:
    """A terminal wrote something."""

    TYPE: ClassVar[str] = "terminal.output"
    STRICT: ClassVar[bool] = True
    terminal_id: TerminalId
    chunk: TerminalChunk


@wire_class
class TerminalReplay:
    """What a terminal wrote before."""

    TYPE: ClassVar[str] = "terminal.replay"
    STRICT: ClassVar[bool] = True
    request_id: NonEmpty
    terminal_id: TerminalId
    chunks: tuple[TerminalChunk, ...]
    next_seq: Count


@wire_class
class TerminalExited:
    """A terminal ended; said exactly once of each."""

    TYPE: ClassVar[str] = "terminal.exited"
    STRICT: ClassVar[bool] = True
    terminal_id: TerminalId
    exit_code: int | None
    close_reason: TerminalCloseReason


@wire_class
class TerminalError:
    """A request about a terminal failed."""

    TYPE: ClassVar[str] = "terminal.error"
    STRICT: ClassVar[bool] = True
    request_id: NonEmpty
    terminal_id: TerminalId
    code: NonEmpty
    message: NonEmpty


DaemonMessage = (
    Heartbeat | TerminalOpened | TerminalOutput | TerminalReplay | TerminalExited | TerminalError
)


# --- reading and writing --------------------------------------------------------------------

_SERVER_TYPES: dict[str, Any] = {cls.TYPE: cls for cls in get_args(ServerMessage)}
_DAEMON_TYPES: dict[str, Any] = {cls.TYPE: cls for cls in get_args(DaemonMessage)}


def parse_server_message(text: str | bytes, *, strict: bool = False) -> ServerMessage:
    """Read what a server sent.

    Args:
        text: one frame.
        strict: refuse unknown keys, as the stock daemon does.

    Raises:
        WireError: ``unknown_message`` for a type that is not known, else ``invalid_message``.
    """
    message: ServerMessage = _parse(_SERVER_TYPES, text, strict=strict)
    return message


def parse_daemon_message(text: str | bytes) -> DaemonMessage:
    """Read what a daemon sent, as strictly as the stock server.

    Raises:
        WireError: ``unknown_message`` for a type that is not known, else ``invalid_message``.
    """
    message: DaemonMessage = _parse(
        _DAEMON_TYPES, text, strict=False
    )  # each class of the table is strict
    return message


def _parse(table: dict[str, Any], text: str | bytes, *, strict: bool) -> Any:  # noqa: ANN401 - a class of the table
    try:
        data = parse_json(text)
        kind = data.get("type") if isinstance(data, dict) else None
        if isinstance(kind, str) and kind not in table:
            raise WireError(f"unknown message {kind[:80]!r}", path="type", code=UNKNOWN_MESSAGE)
        cls = table[kind] if isinstance(kind, str) else None
        if cls is None:
            raise WireError("a message must be an object with a type")
        return structure(cls, data, strict=strict)
    except WireError as error:
        if error.code != UNKNOWN_MESSAGE:
            error.code = INVALID_MESSAGE
        raise


_HEARTBEAT = '{"type":"heartbeat"}'


def encode_message(message: ServerMessage | DaemonMessage) -> str:
    """Write a message as the text of one frame."""
    match message:
        case TerminalOutput(terminal_id=terminal_id, chunk=chunk):
            return encode_terminal_output(terminal_id, chunk.seq, chunk.data)
        case TerminalReplay():
            return _encode_replay(message)
        case Heartbeat():
            return _HEARTBEAT
        case _:
            return encode_json(message)


def encode_terminal_output(terminal_id: TerminalId, seq: int, data: bytes) -> str:
    """Write a ``terminal.output`` message without making objects for it.

    Terminals can flood; this is the one message whose writing has to be cheap.
    """
    return f"{_output_prefix(terminal_id)}{_encode_chunk(seq, data)}}}"


def _encode_replay(replay: TerminalReplay) -> str:
    chunks = ",".join([_encode_chunk(chunk.seq, chunk.data) for chunk in replay.chunks])
    return (
        f'{{"type":"terminal.replay","requestId":{json.dumps(replay.request_id)},'
        f'"terminalId":{json.dumps(replay.terminal_id)},"chunks":[{chunks}],'
        f'"nextSeq":{replay.next_seq}}}'
    )


def _encode_chunk(seq: int, data: bytes) -> str:
    # Base64 needs no escaping, so the text can be put together as it is.
    text = binascii.b2a_base64(data, newline=False).decode("ascii")
    return f'{{"seq":{seq},"dataBase64":"{text}"}}'


@lru_cache(maxsize=256)
def _output_prefix(terminal_id: TerminalId) -> str:
    return f'{{"type":"terminal.output","terminalId":{json.dumps(terminal_id)},"chunk":'
