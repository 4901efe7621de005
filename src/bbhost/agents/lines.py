"""Bytes into lines, within a bound. Pure."""

from attrs import define, field, frozen

LINE_BYTES = 16 * 1024 * 1024
"""Longest line of an agent; a longer one is read to its end and dropped."""


@frozen
class OversizedLine:
    """A line that was dropped."""

    size: int
    """Bytes."""


@define(eq=False)
class LineSplitter:
    """Cuts a stream at its newlines; keeps at most ``limit`` bytes of an unfinished line."""

    limit: int = LINE_BYTES
    _begun: bytearray = field(factory=bytearray, init=False)
    _length: int = field(default=0, init=False)
    """Bytes of the unfinished line, dropped ones included."""

    def feed(self, chunk: bytes) -> list[bytes | OversizedLine]:
        """Take a piece of the stream; return the lines that it completes, without newlines."""
        lines: list[bytes | OversizedLine] = []
        pieces = chunk.split(b"\n")
        for piece in pieces[:-1]:
            self._extend(piece)
            lines.append(self._take())
        self._extend(pieces[-1])
        return lines

    def finish(self) -> list[bytes | OversizedLine]:
        """The stream has ended: a line without a newline counts."""
        return [self._take()] if self._length else []

    def _extend(self, piece: bytes) -> None:
        self._length += len(piece)
        if self._length <= self.limit:
            self._begun += piece
        else:
            self._begun.clear()

    def _take(self) -> bytes | OversizedLine:
        length, self._length = self._length, 0
        if length > self.limit:
            return OversizedLine(length)
        line = bytes(self._begun)
        self._begun.clear()
        return line
