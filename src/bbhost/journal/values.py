"""What goes into the journal and comes out of it, apart from environment records."""

from attrs import frozen

from bbhost.domain.ids import CommandId, ThreadId


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
