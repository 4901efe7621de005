"""Building a stream for ``git fast-import``. Pure, but for the bytes it holds.

With such a stream git stores exactly the bytes and modes it is given: no filter, no attribute, no
hook, no index and no work tree takes part, and any file name can be said.
"""

from collections.abc import Iterable

from attrs import define, field

_ESCAPES = {ord("\n"): b"\\n", ord('"'): b'\\"', ord("\\"): b"\\\\", ord("\r"): b"\\r"}


def quote_path(path: bytes) -> bytes:
    """Quote a path as git reads it in streams and lists."""
    return b'"' + b"".join(_ESCAPES.get(byte, bytes((byte,))) for byte in path) + b'"'


@define(eq=False)
class ImportStream:
    """Collects commands; ``finish`` gives the whole stream."""

    identity: str
    time_s: int
    """Time of the commits, seconds since the epoch."""
    _parts: list[bytes] = field(factory=list, init=False)

    def commit(self, ref: str, message: str, parent: str | None, changes: Iterable[bytes]) -> None:
        """Add a commit on ``parent`` that becomes ``ref``; ``changes`` in the order git is to do them."""
        text = message.encode("utf-8", "backslashreplace")
        self._parts.append(
            b"commit %s\ncommitter %s %d +0000\n"
            % (ref.encode("ascii"), self.identity.encode("ascii"), self.time_s)
        )
        self._parts.append(data(text))
        if parent is not None:
            self._parts.append(b"from %s\n" % parent.encode("ascii"))
        self._parts.extend(changes)
        self._parts.append(b"\n")

    def point(self, ref: str, object_id: str) -> None:
        """Make ``ref`` name a commit that is there already."""
        self._parts.append(
            b"reset %s\nfrom %s\n\n" % (ref.encode("ascii"), object_id.encode("ascii"))
        )

    def finish(self) -> bytes:
        """Return the stream. Git refuses one that was cut short."""
        return b"".join((*self._parts, b"done\n"))


def data(content: bytes) -> bytes:
    """Return content with its length, as a stream carries it."""
    return b"data %d\n%s\n" % (len(content), content)


def delete(path: bytes) -> bytes:
    """Return the command that removes a path, or a whole directory."""
    return b"D %s\n" % quote_path(path)


def put(mode: bytes, object_id: bytes, path: bytes) -> bytes:
    """Return the command that puts an object that is there already at a path."""
    return b"M %s %s %s\n" % (mode, object_id, quote_path(path))


def put_inline(mode: bytes, content: bytes, path: bytes) -> bytes:
    """Return the command that puts new content at a path."""
    return b"M %s inline %s\n%s" % (mode, quote_path(path), data(content))
