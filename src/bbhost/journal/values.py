"""What goes into the journal and comes out of it, apart from environment records."""

from attrs import frozen

from bbhost.domain.ids import CommandId, EnvironmentId, Incarnation, TerminalId, ThreadId


@frozen
class InboxEntry:
    """A command that was fetched and has no result yet."""

    command_id: CommandId
    cursor: int
    """The server's order of delivery."""
    payload_json: str
    """The envelope as it was received."""


@frozen
class OutboxEntry:
    """A result that the server has not acknowledged."""

    seq: int
    """Order of settlement; grows, never reused."""
    command_id: CommandId
    report_json: str


@frozen
class SpooledEvent:
    """A thread event that the server has not acknowledged."""

    producer_event_id: str
    """Unique; the same in every attempt to deliver it."""
    thread_id: ThreadId
    event_json: str
    facts: tuple[tuple[str, str | None], ...] = ()
    """What is true from this event on (``journal/turns.py``): stored with it, not read back."""


@frozen
class SpoolSize:
    """How much waits in the event spool."""

    events: int
    event_bytes: int


@frozen
class KeptTerminal:
    """A terminal that one daemon leaves to the next."""

    descriptor_name: str
    """Under which the service manager keeps the pty."""
    terminal_id: TerminalId
    environment_id: EnvironmentId
    incarnation: Incarnation
    pid: int
    """Of the shell."""
    start_time: int
    boot_id: str
    """Start times of another boot mean nothing."""
    marker: str
    """Of the boundary that the shell runs in."""
    tag: int
    """Lineage tag of that boundary."""
    cols: int
    rows: int
    next_seq: int
    """Number of the next chunk of output."""
    chunk_sizes: tuple[int, ...]
    """Bytes of each chunk of ``output``; their numbers are the last ones before ``next_seq``."""
    output: bytes
