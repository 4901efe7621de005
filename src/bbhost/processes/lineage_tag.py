"""A number that every descendant of a child inherits and no ordinary program changes.

A process can leave its session, its parents (by a double fork) and its environment variables (by
``env -i`` or by overwriting the block), and after that nothing in ``/proc`` says who started it;
except its resource limits. They are inherited over fork and exec, are readable for the owner in
``/proc/<pid>/limits``, even of a zombie, and have nothing to do with sessions or environments.

RLIMIT_RTTIME bounds the processor time of *real-time* scheduled processes between two sleeps, in
microseconds. Its soft limit is set to 2**62 plus a number: 146,000 years, so it limits nothing,
and the low 62 bits carry the tag. Only programs that ask for real-time scheduling (sound servers)
set this limit themselves. A process may do so on purpose; then this evidence is gone, and the
others in ``lineage.py`` remain.

Layout: bit 62 set, 32 bits of the data directory's id, 30 bits of the boundary.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_FAMILY = 1 << 62
_BOUNDARY_BITS = 30
UNBOUNDED = _FAMILY
"""Tag of the children that belong to no boundary (git)."""


def make_tag(data_id: int, boundary: int) -> int:
    """Return the tag of boundary number ``boundary`` (30 bits) of data directory ``data_id`` (32 bits)."""
    return _FAMILY | (data_id & 0xFFFFFFFF) << _BOUNDARY_BITS | boundary & ((1 << 30) - 1)


def is_tag(limit: int | None) -> bool:
    """Whether the limit was set by a daemon of ours."""
    return limit is not None and limit >> 62 == 1


def tag_data_id(tag: int) -> int:
    """The data directory's 32 bits of a tag."""
    return (tag >> _BOUNDARY_BITS) & 0xFFFFFFFF


if sys.platform == "linux":
    import resource

    def tags_available() -> bool:
        """Whether children can be tagged: not under a finite hard limit."""
        _soft, hard = resource.getrlimit(resource.RLIMIT_RTTIME)
        return hard == resource.RLIM_INFINITY

    @contextmanager
    def tagging(tag: int) -> Iterator[None]:
        """Children started inside carry ``tag``. Synchronous use only: nothing may run between."""
        soft, hard = resource.getrlimit(resource.RLIMIT_RTTIME)
        if hard != resource.RLIM_INFINITY:
            yield
            return
        # The soft limit only: it may be raised again, and the daemon itself is never real-time.
        resource.setrlimit(resource.RLIMIT_RTTIME, (tag, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_RTTIME, (soft, hard))

else:

    def tags_available() -> bool:
        """Whether children can be tagged."""
        return False

    @contextmanager
    def tagging(tag: int) -> Iterator[None]:
        """Children started inside carry ``tag``, where the system can do it."""
        yield
