"""What a terminal wrote lately, in numbered chunks. Pure."""

from collections import deque
from collections.abc import Iterable

from attrs import define, field

from bbhost.contract.messages import TerminalChunk

MAX_BYTES = 4 * 1024 * 1024
"""Bytes remembered per terminal; the oldest chunks are forgotten first."""
MAX_CHUNKS = 10_000
"""Chunks remembered per terminal; likewise."""
MAX_CHUNK_BYTES = 65_536
"""Bytes of one chunk."""


@define(eq=False)
class Scrollback:
    """Remembers the end of a terminal's output. Numbers start at 0 and never go back."""

    max_bytes: int = MAX_BYTES
    max_chunks: int = MAX_CHUNKS
    _chunks: deque[TerminalChunk] = field(factory=deque, init=False)
    _size: int = field(default=0, init=False)
    _next_seq: int = field(default=0, init=False)

    @classmethod
    def restored(cls, chunks: Iterable[TerminalChunk], next_seq: int) -> "Scrollback":
        """A scrollback as another daemon left it.

        Args:
            chunks: oldest first.
            next_seq: number of the next chunk, which is after all of ``chunks``.
        """
        scrollback = cls()
        for chunk in chunks:
            scrollback._remember(chunk)
        scrollback._next_seq = next_seq
        return scrollback

    @property
    def next_seq(self) -> int:
        """Number that the next chunk will have."""
        return self._next_seq

    @property
    def size(self) -> int:
        """Bytes remembered."""
        return self._size

    def __len__(self) -> int:
        return len(self._chunks)

    def append(self, data: bytes) -> list[TerminalChunk]:
        """Remember output; return its chunks, in order. Empty output has none."""
        chunks = []
        for start in range(0, len(data), MAX_CHUNK_BYTES):
            piece = data if len(data) <= MAX_CHUNK_BYTES else data[start : start + MAX_CHUNK_BYTES]
            chunk = TerminalChunk(self._next_seq, piece)
            self._next_seq += 1
            self._remember(chunk)
            chunks.append(chunk)
        return chunks

    def chunks(self) -> list[TerminalChunk]:
        """All that is remembered, oldest first."""
        return list(self._chunks)

    def _remember(self, chunk: TerminalChunk) -> None:
        self._chunks.append(chunk)
        self._size += len(chunk.data)
        while self._size > self.max_bytes or len(self._chunks) > self.max_chunks:
            self._size -= len(self._chunks.popleft().data)
