"""Which events of an agent may go to the server. Pure.

A server refuses a whole batch over one event of a turn that it has not seen begin, so what agents
say is held to that here, whatever they do.
"""

from collections import OrderedDict

from bbhost.contract import events as e

REQUESTS_REMEMBERED = 64
"""Requests that are known to be part of a turn; more than may wait for one."""
TURNS_REMEMBERED = 16
"""Turns of which late events still pass."""


class TurnGate:
    """Holds the events of one thread to: begun once, said within, ended once.

    An event is admitted, handed on, and then either told or, where that was cut short, retracted; only
    what was told counts.
    """

    def __init__(self) -> None:
        self._turns: OrderedDict[str, None] = OrderedDict()
        self._accepted: OrderedDict[str, None] = OrderedDict()
        self._on_its_way: e.ThreadEvent | None = None
        """The beginning or end of a turn that is admitted and not told yet."""
        self.active: str | None = None
        """The turn that has begun and not ended, as far as it was told."""

    def admit(self, event: e.ThreadEvent) -> bool:
        """Whether ``event`` may go on. An event that does not is to be dropped."""
        scope = event.scope
        if isinstance(scope, e.ThreadScope):
            return True
        if not isinstance(event, e.TurnStarted | e.TurnCompleted):
            return scope.turn_id in self._turns
        if self._on_its_way is not None:
            return False
        if isinstance(event, e.TurnStarted):
            admitted = self.active is None and scope.turn_id not in self._turns
        else:
            admitted = scope.turn_id == self.active
        if admitted:
            self._on_its_way = event
        return admitted

    def told(self, event: e.ThreadEvent) -> None:
        """An admitted event was handed on."""
        if isinstance(event, e.TurnInputAccepted):
            self._accepted[event.client_request_id] = None
            if len(self._accepted) > REQUESTS_REMEMBERED:
                self._accepted.popitem(last=False)
        if event is not self._on_its_way:
            return
        self._on_its_way = None
        if isinstance(event, e.TurnStarted):
            self.active = event.scope.turn_id
            self._turns[self.active] = None
            if len(self._turns) > TURNS_REMEMBERED:
                self._turns.popitem(last=False)
        else:
            self.active = None

    def was_accepted(self, request_id: str) -> bool:
        """Whether a request has become part of a turn, as far as it was told."""
        return request_id in self._accepted

    def retract(self, event: e.ThreadEvent) -> None:
        """An admitted event was not handed on, or it is not certain that it was."""
        if event is self._on_its_way:
            self._on_its_way = None
