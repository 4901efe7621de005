"""The modes a program switches on in the user's terminal, so that they can be switched off again."""

import re

from attrs import define, field

_SWITCH = re.compile(rb"\x1b\[\?([0-9;]{1,40})([hl])")
_TAIL_BYTES = 48
"""Longer than any switch; kept so that one cut in two is seen."""
_OFF_AT_REST = frozenset(
    {1, 9, 47, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 1047, 1049, 2004}
)
"""Application keys, mouse reports, focus reports, the other screen, bracketed paste."""
_ON_AT_REST = frozenset({7, 25})
"""Line wrap, the cursor."""


@define(eq=False)
class ModeTracker:
    """Follows which modes differ from those at rest."""

    _changed: set[int] = field(factory=set)
    _tail: bytes = b""

    def follow(self, output: bytes) -> None:
        """Take what is written to the terminal."""
        seen = self._tail + output
        for match in _SWITCH.finditer(seen):
            is_on = match[2] == b"h"
            for mode in (int(part) for part in match[1].split(b";") if part):
                if (mode in _OFF_AT_REST and is_on) or (mode in _ON_AT_REST and not is_on):
                    self._changed.add(mode)
                else:
                    self._changed.discard(mode)
        self._tail = seen[-_TAIL_BYTES:]

    def reset(self) -> bytes:
        """Return what brings the terminal back to rest, colours included."""
        switches = b"".join(
            b"\x1b[?%d%s" % (mode, b"h" if mode in _ON_AT_REST else b"l")
            for mode in sorted(self._changed)
        )
        return b"\x1b[0m" + switches
