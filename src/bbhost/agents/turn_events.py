"""Events of one turn, written with less repetition. Pure."""

from uuid import uuid4

from attrs import frozen

from bbhost.contract import events as e
from bbhost.contract.items import Item
from bbhost.domain.ids import ThreadId


def new_turn_id() -> str:
    """An id for a turn of an agent that has no ids of its own for them."""
    return f"turn_{uuid4().hex}"


@frozen
class ThreadEvents:
    """Makes the events of a thread as a whole."""

    thread_id: ThreadId
    provider_thread_id: str

    def begun(self, *, resumed: bool) -> list[e.ThreadEvent]:
        """The conversation is known; a new one has also begun."""
        identity = e.ThreadIdentity(self.thread_id, e.ThreadScope(), self.provider_thread_id)
        if resumed:
            return [identity]
        return [e.ThreadStarted(self.thread_id, e.ThreadScope()), identity]

    def turn(self, turn_id: str) -> "TurnEvents":
        """Makes the events of one turn."""
        return TurnEvents(self.thread_id, self.provider_thread_id, e.TurnScope(turn_id))

    def scope(self, turn_id: str | None) -> e.Scope:
        """The scope of what may be said in a turn or outside of one."""
        return e.ThreadScope() if turn_id is None else e.TurnScope(turn_id)

    def warning(
        self, turn_id: str | None, summary: str, details: str | None = None
    ) -> e.ThreadEvent:
        """Something to know about the provider."""
        return e.ProviderWarning(
            self.thread_id,
            self.scope(turn_id),
            self.provider_thread_id,
            "general",
            summary,
            details,
        )

    def error(
        self,
        turn_id: str | None,
        message: str,
        *,
        detail: str | None = None,
        will_retry: bool | None = None,
        info: e.ErrorInfo | None = None,
    ) -> e.ThreadEvent:
        """The provider had an error."""
        return e.ProviderErrorEvent(
            self.thread_id,
            self.scope(turn_id),
            self.provider_thread_id,
            message,
            detail,
            will_retry,
            info,
        )

    def unhandled(
        self, turn_id: str | None, provider_id: str, raw_type: str, raw: e.RawRpcEvent
    ) -> e.ThreadEvent:
        """The provider said something that has no event of its own."""
        return e.ProviderUnhandled(
            self.thread_id,
            self.scope(turn_id),
            self.provider_thread_id,
            provider_id,
            raw_type,
            raw,
        )


@frozen
class TurnEvents:
    """Makes the events of one turn."""

    thread_id: ThreadId
    provider_thread_id: str
    scope: e.TurnScope

    def started(self) -> e.ThreadEvent:
        """The turn began."""
        return e.TurnStarted(self.thread_id, self.scope, self.provider_thread_id)

    def accepted(self, request_id: str) -> e.ThreadEvent:
        """The agent took a request."""
        return e.TurnInputAccepted(self.thread_id, self.scope, self.provider_thread_id, request_id)

    def completed(self, status: str, message: str | None = None) -> e.ThreadEvent:
        """The turn ended; ``status`` is completed, failed or interrupted."""
        fault = None if message is None else e.TurnFault(message)
        return e.TurnCompleted(
            self.thread_id,
            self.scope,
            self.provider_thread_id,
            status,  # type: ignore[arg-type] # one of the three, by the callers
            fault,
        )

    def item_started(self, item: Item) -> e.ThreadEvent:
        """An item began."""
        return e.ItemStarted(self.thread_id, self.scope, self.provider_thread_id, item)

    def item_completed(self, item: Item) -> e.ThreadEvent:
        """An item ended."""
        return e.ItemCompleted(self.thread_id, self.scope, self.provider_thread_id, item)

    def message_delta(self, item_id: str, delta: str) -> e.ThreadEvent:
        """More of what the agent says."""
        return e.AgentMessageDelta(
            self.thread_id, self.scope, self.provider_thread_id, item_id, delta
        )

    def thought_delta(self, item_id: str, delta: str) -> e.ThreadEvent:
        """More of what the agent thinks."""
        return e.ReasoningTextDelta(
            self.thread_id, self.scope, self.provider_thread_id, item_id, delta
        )
