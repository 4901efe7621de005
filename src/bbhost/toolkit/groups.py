"""Finding the one error that tells something in what a nursery raised."""

from collections.abc import Iterator
from typing import TypeVar

E = TypeVar("E", bound=BaseException)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The members of a group and of the groups in it; of another exception, itself."""
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from leaves(member)
    else:
        yield error


def first_of(error: BaseException, kind: type[E]) -> E | None:
    """The first error of ``kind`` in ``error``, be it a group or not; None where there is none."""
    for leaf in leaves(error):
        if isinstance(leaf, kind):
            return leaf
    return None
