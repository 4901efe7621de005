"""How much of what an agent says is passed on. Pure.

The whole of a message is told again when it is complete, and the server keeps every event; an agent
in a loop must not fill its disk.
"""

from attrs import define, field

ITEM_CHARACTERS = 256 * 1024
"""Characters kept of one item's text or output. Its beginning is kept, and the loss is told."""
TURN_CHARACTERS = 16 * 1024 * 1024
"""Characters of deltas passed on in one turn; what follows is read and dropped."""
TRUNCATED = "\n[truncated: the rest was left out]"


def bounded(text: str, limit: int = ITEM_CHARACTERS) -> str:
    """``text``, or its beginning and a note where it is longer than ``limit`` characters."""
    return text if len(text) <= limit else text[:limit] + TRUNCATED


@define(eq=False)
class KeptText:
    """Text that comes in pieces, kept up to a bound."""

    limit: int = ITEM_CHARACTERS
    length: int = 0
    """Characters that came in all."""
    _pieces: list[str] = field(factory=list)

    def add(self, piece: str) -> None:
        """Take another piece."""
        room = self.limit - self.length
        self.length += len(piece)
        if room > 0:
            self._pieces.append(piece[:room])

    @property
    def text(self) -> str:
        """What was kept."""
        kept = "".join(self._pieces)
        return kept if self.length <= self.limit else kept + TRUNCATED


@define(eq=False)
class TurnBudget:
    """Counts the deltas of one turn."""

    limit: int = TURN_CHARACTERS
    used: int = 0

    def take(self, delta: str) -> str:
        """The part of ``delta`` that may be passed on; empty when the turn has used its share."""
        room = self.limit - self.used
        self.used += len(delta)
        return delta[:room] if room > 0 else ""

    @property
    def is_exceeded(self) -> bool:
        """Whether something was dropped."""
        return self.used > self.limit
