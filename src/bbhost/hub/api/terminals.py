"""Public values about terminals, and the messages of an attached one."""

from typing import ClassVar, Literal

from attrs import frozen

from bbhost.contract.wire import absent


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
    """Asks for a terminal of a size."""

    cols: int = 80
    rows: int = 24
    thread_id: str | None = absent()


@frozen
class Chunk:
    """A piece of output. Drop those whose ``seq`` has been seen."""

    seq: int
    data_base64: str


@frozen
class ReplayMessage:
    """First message to a viewer: what the terminal remembers."""

    chunks: tuple[Chunk, ...]
    next_seq: int
    TYPE: ClassVar[str] = "replay"


@frozen
class OutputMessage:
    """Output as it comes."""

    chunk: Chunk
    TYPE: ClassVar[str] = "output"


@frozen
class ExitedMessage:
    """The terminal has ended; the socket is closed after this."""

    exit_code: int | None
    close_reason: str
    TYPE: ClassVar[str] = "exited"


@frozen
class TerminalErrorMessage:
    """The terminal cannot be attached; the socket is closed after this."""

    code: str
    message: str
    TYPE: ClassVar[str] = "error"


ViewerMessage = ReplayMessage | OutputMessage | ExitedMessage | TerminalErrorMessage
