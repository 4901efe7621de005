"""A value that tasks can wait on.

Waiting is by level: ``wait_value`` returns at once if the condition holds already, so a change
cannot be missed between looking and waiting.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import outcome
import trio

T = TypeVar("T")


class AsyncValue(Generic[T]):
    """Holds a value; wakes the tasks whose condition a new value meets."""

    def __init__(self, value: T) -> None:
        self._value = value
        self._waiters: dict[trio.lowlevel.Task, Callable[[T], bool]] = {}

    def __repr__(self) -> str:
        return f"AsyncValue({self._value!r})"

    @property
    def value(self) -> T:
        """The present value. Setting it wakes the waiters whose condition it meets."""
        return self._value

    @value.setter
    def value(self, value: T) -> None:
        self._value = value
        met = [task for task, condition in self._waiters.items() if condition(value)]
        for task in met:
            del self._waiters[task]
            # The value that met the condition goes to the waiter, even if it changes again first.
            trio.lowlevel.reschedule(task, outcome.Value(value))

    async def wait_value(self, condition: Callable[[T], bool]) -> T:
        """Wait until ``condition`` holds and return the value that met it.

        Cancellation: safe at any point; leaves nothing behind.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        value = self._value
        if condition(value):
            await trio.lowlevel.cancel_shielded_checkpoint()
            return value  # even if it has changed during the checkpoint
        task = trio.lowlevel.current_task()
        self._waiters[task] = condition

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            del self._waiters[task]
            return trio.lowlevel.Abort.SUCCEEDED

        result: T = await trio.lowlevel.wait_task_rescheduled(abort)
        return result
