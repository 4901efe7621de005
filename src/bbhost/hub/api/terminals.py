"""Public values about terminals, and the messages of an attached one."""

from typing import ClassVar, Literal

from attrs import frozen

from bbhost.contract.fields import Columns, NonEmpty, Rows, TerminalBytes
from bbhost.contract.messages import TerminalChunk
from bbhost.contract.wire import absent, named


@frozen
class Terminal:
    """A terminal of an environment. Times are milliseconds since the epoch."""

    id: str
    environment_id: str
    host_id: str
    state: Literal["opening", "open", "exited"]
    title: str | None
    shell: str | None
    initial_cwd: str | None
    cols: int
    rows: int
    exit_code: int | None
    close_reason: str | None
    created_at: int


@frozen
class TerminalList:
    """Terminals, oldest first. Exited ones are remembered for a while."""

    terminals: tuple[Terminal, ...]


@frozen
class OpenTerminal:
    """Asks for a terminal of a size; 80 columns and 24 rows where left out."""

    STRICT: ClassVar[bool] = True
    cols: Columns | None = absent()
    rows: Rows | None = absent()
    thread_id: NonEmpty | None = absent()


@frozen
class ReplayMessage:
    """First message to a viewer: what the terminal remembers."""

    TYPE: ClassVar[str] = "replay"
    chunks: tuple[TerminalChunk, ...]
    next_seq: int


@frozen
class OutputMessage:
    """Output as it comes. Drop chunks whose ``seq`` has been seen."""

    TYPE: ClassVar[str] = "output"
    chunk: TerminalChunk


@frozen
class ExitedMessage:
    """The terminal has ended; the socket is closed after this."""

    TYPE: ClassVar[str] = "exited"
    exit_code: int | None
    close_reason: str


@frozen
class TerminalErrorMessage:
    """The terminal cannot be attached; the socket is closed after this."""

    TYPE: ClassVar[str] = "error"
    code: str
    message: str


ViewerMessage = ReplayMessage | OutputMessage | ExitedMessage | TerminalErrorMessage


@frozen
class ViewerInput:
    """Bytes for the shell, at most 64 KiB at a time."""

    TYPE: ClassVar[str] = "input"
    STRICT: ClassVar[bool] = True
    data: TerminalBytes = named("dataBase64")


@frozen
class ViewerResize:
    """The viewer has another size; the last one to say so wins."""

    TYPE: ClassVar[str] = "resize"
    STRICT: ClassVar[bool] = True
    cols: Columns
    rows: Rows


@frozen
class ViewerClose:
    """End the terminal. A viewer that only leaves closes its socket instead."""

    TYPE: ClassVar[str] = "close"
    STRICT: ClassVar[bool] = True


ViewerRequest = ViewerInput | ViewerResize | ViewerClose
