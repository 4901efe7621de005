"""Cutting the output of ``git diff --raw --numstat --patch`` into what is shown. Pure.

Git writes the raw lines first, then the line counts, an empty line, and the patch. The pieces are
taken as they come and only as much as will be shown is kept, so a diff of any size costs a bounded
amount of memory, besides the names of the changed files.
"""

import codecs

from attrs import define, field

from bbhost.contract.text import cut_to_wire_length, wire_length


@define
class CutText:
    """Text that keeps its first ``limit`` characters, counted as a server counts them."""

    limit: int
    pieces: list[str] = field(factory=list)
    length: int = 0
    truncated: bool = False

    def add(self, text: str) -> None:
        """Append; what lies beyond the limit is dropped and noted."""
        if self.truncated:
            return  # not even what would fit: it is not the next that was cut
        room = self.limit - self.length
        length = wire_length(text)
        if length > room:
            self.truncated = True
            text = cut_to_wire_length(text, room)
            length = wire_length(text)
        if text:
            self.pieces.append(text)
            self.length += length

    def __str__(self) -> str:
        return "".join(self.pieces)


@define
class DiffTotals:
    """What a diff counts in all."""

    files: int = 0
    insertions: int = 0
    deletions: int = 0

    def shortstat(self) -> str:
        """One line without the parts that are zero; empty when no file changed."""
        if not self.files:
            return ""
        parts = [f"{self.files} file{'s' if self.files != 1 else ''} changed"]
        if self.insertions:
            parts.append(f"{self.insertions} insertion{'s' if self.insertions != 1 else ''}(+)")
        if self.deletions:
            parts.append(f"{self.deletions} deletion{'s' if self.deletions != 1 else ''}(-)")
        return ", ".join(parts) + "\n"

    def git_shortstat(self) -> str:
        """The same as git itself writes it: indented, and both counts where both are zero."""
        if not self.files:
            return ""
        if not self.insertions and not self.deletions:
            plural = "s" if self.files != 1 else ""
            return f" {self.files} file{plural} changed, 0 insertions(+), 0 deletions(-)\n"
        return " " + self.shortstat()


@define(eq=False)
class DiffReader:
    """Takes the output of one git child, adding to texts that several children share."""

    patch: CutText
    files: CutText
    totals: DiffTotals
    _pending: list[tuple[str, bytes | None]] = field(factory=list)
    """Name-status lines, with the name if the file may turn out to be unmodified."""
    _counted: set[bytes] = field(factory=set)
    _rest: bytes = b""
    _in_patch: bool = False
    _decoder: codecs.IncrementalDecoder = field(
        factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )

    @property
    def is_satisfied(self) -> bool:
        """Whether nothing that comes can change the answer any more."""
        return self._in_patch and self.patch.truncated

    def feed(self, chunk: bytes) -> None:
        """Take the next piece."""
        if self._in_patch:
            self.patch.add(self._decoder.decode(chunk))
            return
        *lines, rest = (self._rest + chunk).split(b"\n")
        for number, line in enumerate(lines):
            if not line:
                self._in_patch = True
                self._flush_files()
                after = b"\n".join((*lines[number + 1 :], rest))
                self._rest = b""
                self.patch.add(self._decoder.decode(after))
                return
            self._summary_line(line)
        self._rest = rest

    def finish(self) -> None:
        """Take note that the output has ended."""
        self._flush_files()
        self.patch.add(self._decoder.decode(b"", True))

    def _summary_line(self, line: bytes) -> None:
        if line.startswith(b":"):
            meta, _, names = line.partition(b"\t")
            old_mode, new_mode, *_, status = meta.lstrip(b":").split(b" ")
            text = (status + b"\t" + names + b"\n").decode("utf-8", "replace")
            in_doubt = status == b"M" and old_mode == new_mode
            self._pending.append((text, names if in_doubt else None))
            return
        insertions, deletions, name = line.split(b"\t", 2)
        self._counted.add(name)
        self.totals.files += 1
        if insertions != b"-":
            self.totals.insertions += int(insertions)
            self.totals.deletions += int(deletions)

    def _flush_files(self) -> None:
        # Git lists a file with new stat data as modified before it looks at the content; if that is
        # the same, it has no line counts.
        for text, name in self._pending:
            if name is None or name in self._counted:
                self.files.add(text)
        self._pending.clear()
        self._counted.clear()
