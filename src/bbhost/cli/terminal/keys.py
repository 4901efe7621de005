"""The keys that leave a terminal: ctrl-\\ , or ctrl-p and then ctrl-q."""

from attrs import define

QUIT = 0x1C
"""ctrl-\\ ."""
FIRST, SECOND = 0x10, 0x11
"""ctrl-p, ctrl-q. The first is held back until the next key shows what is meant."""


@define(eq=False)
class KeyScanner:
    """Looks for the keys in what is typed."""

    _held: bool = False

    def feed(self, typed: bytes) -> tuple[bytes, bool]:
        """Take what was typed; return what is for the shell, and whether the user wants to leave.

        What follows the keys is dropped.
        """
        forward = bytearray()
        for key in typed:
            if key == QUIT or (self._held and key == SECOND):
                return bytes(forward), True
            if self._held:
                forward.append(FIRST)
            self._held = key == FIRST
            if not self._held:
                forward.append(key)
        return bytes(forward), False
