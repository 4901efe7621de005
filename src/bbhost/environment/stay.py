"""A guest-house: work of others that may run only while an environment is ready.

Whatever a command, a terminal or a thread does in an environment runs as a child of the nursery of
its ``ready`` state. It therefore cannot outlive that state, whoever asked for it.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import trio
from attrs import define, field

from bbhost.errors import EnvironmentBusyError, EnvironmentDestroyedError

T = TypeVar("T")


@define(eq=False)
class _Call:
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    finished: trio.Event = field(factory=trio.Event)
    value: Any = None
    error: Exception | None = None
    returned: bool = False


class ReadyStay:
    """One visit to ``ready``: runs calls, counts what keeps the environment from being idle."""

    def __init__(self, name: str, nursery: trio.Nursery, on_idle: Callable[[], None]) -> None:
        self._name = name
        self._nursery = nursery
        self._on_idle = on_idle
        self._activities: dict[str, int] = {}
        self.is_closing = False
        """Set when leaving has been decided: nothing new starts."""

    @property
    def is_idle(self) -> bool:
        """No active thread turn and no open terminal."""
        return not self._activities

    @property
    def activities(self) -> tuple[str, ...]:
        """What keeps the environment busy, by name."""
        return tuple(sorted(self._activities))

    def refuse_if_closing(self) -> None:
        """Raise EnvironmentDestroyedError once leaving has been decided."""
        if self.is_closing:
            raise EnvironmentDestroyedError(f"Environment {self._name} is being destroyed")

    @contextmanager
    def activity(self, name: str) -> Iterator[None]:
        """Keep the environment from counting as idle while the block runs."""
        self.refuse_if_closing()
        self._activities[name] = self._activities.get(name, 0) + 1
        try:
            yield
        finally:
            self._activities[name] -= 1
            if not self._activities[name]:
                del self._activities[name]
            if not self._activities and not self.is_closing:
                self._on_idle()

    def host(self, fn: Callable[..., Awaitable[None]], *args: object) -> None:
        """Start a long-lived guest (a terminal, a thread); it ends with this stay.

        The guest must handle its own faults: an exception ends the whole stay.

        Raises:
            EnvironmentDestroyedError: the environment is being destroyed.
            EnvironmentBusyError: a defect has just ended the stay.
        """
        self._start(fn, *args)

    def _start(self, fn: Callable[..., Awaitable[None]], *args: object) -> None:
        self.refuse_if_closing()
        try:
            self._nursery.start_soon(fn, *args)
        except RuntimeError as error:
            # A defect has ended everything in it, and the owner has not had its turn to say so.
            raise EnvironmentBusyError(
                f"Environment {self._name} recovers from an internal error; try again later"
            ) from error

    async def call(self, fn: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run ``fn`` within this stay and return what it returns.

        Raises:
            EnvironmentDestroyedError: the environment is being destroyed, or was before ``fn`` ended.
            EnvironmentBusyError: a defect has just ended the stay.

        Cancellation: of the caller: ``fn`` is cancelled and has ended when this returns.
        """
        call = _Call()
        self._start(self._run_call, call, fn, args)
        try:
            await call.finished.wait()
        except trio.Cancelled:
            call.scope.cancel(reason="the caller has gone")
            # Not a new wait on the world: fn has just been cancelled and bounds its own cleanup.
            with trio.CancelScope(shield=True):
                await call.finished.wait()
            raise
        if call.error is not None:
            raise call.error
        if not call.returned:
            raise EnvironmentDestroyedError(f"Environment {self._name} was destroyed meanwhile")
        value: T = call.value
        return value

    async def _run_call(
        self, call: _Call, fn: Callable[..., Awaitable[object]], args: tuple[object, ...]
    ) -> None:
        try:
            with call.scope:
                call.value = await fn(*args)
                call.returned = True
        except Exception as error:
            call.error = error
        finally:
            call.finished.set()
