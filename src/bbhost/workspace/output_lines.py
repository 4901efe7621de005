"""Turning a program's output into the lines a person would see at the end. Pure.

A carriage return takes the cursor back to the start of the line, so what stood there before is
overwritten: of a progress bar only its last state remains. Blank lines are dropped.
"""

import codecs

MAX_PENDING_CHARS = 16_384
"""Kept of a line that has not ended yet; the rest of it is dropped."""


class OutputLines:
    """Splits output that arrives in pieces. UTF-8; what is not is replaced, never an error."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._returned = False

    def feed(self, piece: bytes) -> list[str]:
        """Return the lines that ``piece`` completes."""
        return self._take(self._decoder.decode(piece))

    def finish(self) -> list[str]:
        """Return what is left: the last line, where it had no newline."""
        lines = self._take(self._decoder.decode(b"", final=True))
        rest, self._line, self._returned = self._line, "", False
        return [*lines, rest] if rest.strip() else lines

    def _take(self, text: str) -> list[str]:
        lines = []
        *ended, rest = text.split("\n")
        for part in ended:
            self._append(part)
            if self._line.strip():
                lines.append(self._line)
            self._line, self._returned = "", False
        self._append(rest)
        return lines

    def _append(self, text: str) -> None:
        for number, part in enumerate(text.split("\r")):
            if number:
                # Only what follows decides whether this was half of a CRLF or an overwritten line.
                self._returned = True
            if part:
                if self._returned:
                    self._line, self._returned = "", False
                self._line = (self._line + part)[:MAX_PENDING_CHARS]
