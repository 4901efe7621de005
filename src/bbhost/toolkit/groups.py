"""Looking into exception groups."""

from typing import TypeVar

E = TypeVar("E", bound=BaseException)


def only_error(group: BaseExceptionGroup[BaseException], kind: type[E]) -> E | None:
    """Return the one leaf of ``group`` if it has just one and it is a ``kind``; None otherwise.

    For reporting at the edge of the program. Elsewhere a group is handled as one.
    """
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        if len(error.exceptions) != 1:
            return None
        error = error.exceptions[0]
    return error if isinstance(error, kind) else None
