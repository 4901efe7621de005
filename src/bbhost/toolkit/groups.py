"""Finding the one error that tells something in what a nursery raised."""

from collections.abc import Iterator
from typing import TypeVar

import trio

E = TypeVar("E", bound=BaseException)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The members of a group and of the groups in it; of another exception, itself."""
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from leaves(member)
    else:
        yield error


def split_cancelled(
    group: BaseExceptionGroup[BaseException],
) -> tuple[BaseException | None, Exception | None]:
    """Part a group into its cancellations and its faults.

    What fails while it is being cancelled comes as one group with the cancellation. Such a group is no
    ``Exception``, and passes every ``except Exception``.

    Returns:
        What must be raised on (None: nothing), and the faults that may be dealt with (None: there are
        none, or it holds more than faults and cancellations, such as KeyboardInterrupt).
    """
    cancelled, rest = group.split(trio.Cancelled)
    if isinstance(rest, Exception):
        return cancelled, rest
    return group, None


def first_of(error: BaseException, kind: type[E]) -> E | None:
    """The first error of ``kind`` in ``error``, be it a group or not; None where there is none."""
    for leaf in leaves(error):
        if isinstance(leaf, kind):
            return leaf
    return None
