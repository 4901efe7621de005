"""Which events of an agent may go to the server. Pure.

A server refuses a whole batch over one event of a turn that it has not seen begin, so what agents
say is held to that here, whatever they do.
"""

from collections import OrderedDict

from bbhost.contract import events as e

TURNS_REMEMBERED = 16
"""Turns of which late events still pass."""


class TurnGate:
    """Holds the events of one thread to: begun once, said within, ended once."""

    def __init__(self) -> None:
        self._turns: OrderedDict[str, None] = OrderedDict()
        self.active: str | None = None
        """The turn that has begun and not ended."""

    def admit(self, event: e.ThreadEvent) -> bool:
        """Whether ``event`` may go on. An event that does not is to be dropped."""
        scope = event.scope
        if isinstance(scope, e.ThreadScope):
            return True
        turn_id = scope.turn_id
        match event:
            case e.TurnStarted():
                return self._begin(turn_id)
            case e.TurnCompleted():
                if turn_id != self.active:
                    return False
                self.active = None
                return True
        return turn_id in self._turns

    def _begin(self, turn_id: str) -> bool:
        if self.active is not None or turn_id in self._turns:
            return False
        self.active = turn_id
        self._turns[turn_id] = None
        if len(self._turns) > TURNS_REMEMBERED:
            self._turns.popitem(last=False)
        return True
