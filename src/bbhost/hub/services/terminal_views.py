"""One viewer of a terminal, and what happens when it cannot keep up.

A viewer that is slower than its terminal is not cut off and costs no growing memory: once its line is
full, output is left out; when it has taken what waits, the daemon is asked to replay what it still
remembers from there on. What is older than the daemon's scrollback is lost to that viewer, as it
would be on any terminal, and the numbers of the chunks show the gap.
"""

from collections.abc import Callable, Sequence

from attrs import Factory, define

from bbhost.contract.codec import encode_json
from bbhost.contract.ids import new_id
from bbhost.contract.messages import TerminalChunk
from bbhost.hub.api.terminals import (
    ExitedMessage,
    OutputMessage,
    ReplayMessage,
    TerminalErrorMessage,
)
from bbhost.hub.services.outbox import Outbox
from bbhost.toolkit.tick import Tick

REPLAY_PART_BYTES = 384 * 1024
"""Of output in one replay message: many clients refuse messages of more than 1 MiB."""

Attach = Callable[[str, int], None]
"""Asks the daemon for a replay, under a request id, from a sequence number on."""


@define(eq=False)
class TerminalView:
    """A viewer: the line to its socket, and where it stands."""

    outbox: Outbox[str]
    request_id: str = Factory(lambda: new_id("treq"))
    """Of the replay it waits for, or last got."""
    _attach: Attach | None = None
    _replayed: bool = False
    _next_seq: int = 0
    """Number of the first chunk that it has not been given."""
    _missed_from: int | None = None
    """Number of the first chunk that was left out."""
    _lagging: Tick = Factory(Tick)

    def begin(self, attach: Attach) -> None:
        """Ask for the first replay."""
        self._attach = attach
        attach(self.request_id, 0)

    def resume(self) -> None:
        """The daemon is back: ask for what this viewer has not been given, once it is drained."""
        if self._missed_from is None:
            self._missed_from = self._next_seq
        self._lagging.set()

    def show(self, text: str, seq: int) -> None:
        """Pass on a chunk, as the JSON of its message, or leave it out where the line is full."""
        if not self._replayed or self._missed_from is not None:
            return
        if self.outbox.has_room(text):
            self.outbox.put(text)
            self._next_seq = seq + 1
        else:
            self._missed_from = seq
            self._lagging.set()

    def replay(self, chunks: tuple[TerminalChunk, ...], next_seq: int) -> None:
        """Pass on what the daemon remembers; from now on every chunk is shown."""
        self._replayed = True
        self._next_seq = next_seq
        parts = split_replay(chunks, next_seq)
        self.outbox.put_batch([encode_json(part) for part in parts])

    def refuse(self, code: str, message: str) -> None:
        """Tell why there is nothing to see, and end."""
        self.outbox.put(encode_json(TerminalErrorMessage(code, message)))
        self.outbox.finish()

    def say_farewell(self, farewell: ExitedMessage) -> None:
        """Tell that the terminal has ended, and end."""
        self.outbox.put(encode_json(farewell))
        self.outbox.finish()

    async def keep_up(self) -> None:
        """Make good what was left out, each time the viewer has caught up. Runs until cancelled."""
        while True:
            await self._lagging.wait()
            await self.outbox.wait_drained()
            missed, self._missed_from = self._missed_from, None
            if self._attach is not None and missed is not None:
                self._replayed = False
                self._attach(self.request_id, missed)


def split_replay(chunks: Sequence[TerminalChunk], next_seq: int) -> list[ReplayMessage]:
    """Return a replay in parts that common WebSocket clients accept; at least one."""
    parts: list[ReplayMessage] = []
    part: list[TerminalChunk] = []
    size = 0
    for chunk in chunks:
        if part and size + len(chunk.data) > REPLAY_PART_BYTES:
            parts.append(ReplayMessage(tuple(part), chunk.seq))
            part, size = [], 0
        part.append(chunk)
        size += len(chunk.data)
    parts.append(ReplayMessage(tuple(part), next_seq))
    return parts


def output_text(chunk: TerminalChunk) -> str:
    """Return the message of a chunk, made once for all viewers."""
    return encode_json(OutputMessage(chunk))
