"""From the updates of a session to events. Pure: fed with messages, returns events.

Text comes in chunks without ids. Chunks of one kind that follow each other are one item, which ends
where something else begins.
"""

from collections import OrderedDict
from typing import Literal

from bbhost.agents.acp.tool_items import ToolCall, block_text
from bbhost.agents.bounds import KeptText, TurnBudget
from bbhost.agents.raw import Json, as_list, as_map, as_text, number_or_none, raw_event
from bbhost.agents.turn_events import ThreadEvents
from bbhost.contract import events as e
from bbhost.contract.items import (
    AgentMessageItem,
    ApprovalStatus,
    CommandExecutionItem,
    ItemStatus,
    ReasoningItem,
)

OPEN_CALLS_LIMIT = 256
"""Tool calls that are open at a time; beyond it the oldest is closed as it stands."""

Events = list[e.ThreadEvent]
_STEPS: dict[str, Literal["pending", "active", "completed"]] = {
    "pending": "pending",
    "in_progress": "active",
    "completed": "completed",
}
_STOPS: dict[str, tuple[str, e.ErrorCategory]] = {
    "max_tokens": ("The model reached its limit of tokens", "max-output-tokens"),
    "max_turn_requests": ("The agent reached its limit of requests in a turn", "max-turns"),
    "refusal": ("The agent refused to continue", "policy"),
}


class AcpTurn:
    """One turn, which may take several prompts."""

    def __init__(
        self, thread: ThreadEvents, turn_id: str, provider_id: str, workspace: str
    ) -> None:
        self.turn_id = turn_id
        self._thread = thread
        self._events = thread.turn(turn_id)
        self._provider_id = provider_id
        self._workspace = workspace
        self._items = 0
        self._text: tuple[str, str, KeptText] | None = None
        """Kind, item id and text of the item that chunks go to."""
        self._calls: OrderedDict[str, ToolCall] = OrderedDict()
        self._budget = TurnBudget()
        self._told_budget = False

    # --- the life of the turn -----------------------------------------------------------------

    def begin(self, request_id: str) -> Events:
        """The turn begins with a request."""
        return [self._events.started(), self._events.accepted(request_id)]

    def steered(self, request_id: str) -> Events:
        """Another request was taken within the turn."""
        return [self._events.accepted(request_id)]

    def answered(self, result: Json) -> Events:
        """A prompt was answered, and the turn may go on with another: close what is open."""
        return [
            *self._close_text(),
            *self._close_calls(ItemStatus.INTERRUPTED),
            *self._used(result),
        ]

    def finish(self, result: Json) -> Events:
        """The last prompt was answered."""
        reason = as_text(result.get("stopReason"), "end_turn")
        cancelled = reason == "cancelled"
        rest = ItemStatus.INTERRUPTED if cancelled else ItemStatus.COMPLETED
        events = [*self._close_text(), *self._close_calls(rest), *self._used(result)]
        if reason in _STOPS:
            message, category = _STOPS[reason]
            info = e.ErrorInfo(category, reason, None)
            events.append(self._thread.error(self.turn_id, message, will_retry=False, info=info))
        return [*events, self._events.completed("interrupted" if cancelled else "completed")]

    def fail(self, message: str) -> Events:
        """The prompt was answered with an error."""
        return [
            *self._close_text(),
            *self._close_calls(ItemStatus.FAILED),
            self._thread.error(self.turn_id, message, will_retry=False),
            self._events.completed("failed", message),
        ]

    # --- updates ------------------------------------------------------------------------------

    def update(self, update: Json) -> Events:
        """One ``session/update``."""
        match update.get("sessionUpdate"):
            case "agent_message_chunk":
                return self._chunk("message", block_text(update.get("content")))
            case "agent_thought_chunk":
                return self._chunk("thought", block_text(update.get("content")))
            case "user_message_chunk":
                return []
            case "tool_call" | "tool_call_update":
                return [*self._close_text(), *self._tool(update)]
            case "plan":
                return [self._plan(as_list(update.get("entries")))]
            case "usage_update":
                return [self._context(update)]
        return outside_of_turn(self._thread, self.turn_id, self._provider_id, update)

    def approval(self, call: Json, status: ApprovalStatus | None) -> Events:
        """The agent asks for permission for a tool call, or has been answered."""
        call_id = as_text(call.get("toolCallId"))
        events = [*self._close_text(), *self._tool(call)] if status else []
        known = self._calls.get(call_id)
        if known is None:
            return events
        known.approval = status
        return [*events, self._events.item_started(known.item())]

    def _chunk(self, kind: str, text: str) -> Events:
        events: Events = []
        if self._text is not None and self._text[0] != kind:
            events += self._close_text()
        if not text:
            return events
        if self._text is None:
            self._items += 1
            item_id = f"{self.turn_id}-{kind}-{self._items}"
            self._text = (kind, item_id, KeptText())
            empty = (
                AgentMessageItem(item_id, "")
                if kind == "message"
                else ReasoningItem(item_id, (), ())
            )
            events.append(self._events.item_started(empty))
        _, item_id, kept = self._text
        kept.add(text)
        passed = self._budget.take(text)
        if passed:
            delta = self._events.message_delta if kind == "message" else self._events.thought_delta
            events.append(delta(item_id, passed))
        return events + self._tell_budget()

    def _tell_budget(self) -> Events:
        if not self._budget.is_exceeded or self._told_budget:
            return []
        self._told_budget = True
        return [
            self._thread.warning(
                self.turn_id,
                "The agent says too much; the rest of this turn is passed on in part",
            )
        ]

    def _close_text(self) -> Events:
        if self._text is None:
            return []
        (kind, item_id, kept), self._text = self._text, None
        if kind == "message":
            return [self._events.item_completed(AgentMessageItem(item_id, kept.text))]
        return [self._events.item_completed(ReasoningItem(item_id, (), (kept.text,)))]

    # --- tools --------------------------------------------------------------------------------

    def _tool(self, update: Json) -> Events:
        call_id = as_text(update.get("toolCallId"))
        if not call_id:
            return []
        call = self._calls.get(call_id)
        is_new = call is None
        if call is None:
            call = self._calls[call_id] = ToolCall(call_id, self._workspace)
        before = call.output
        call.merge(update)
        events: Events = []
        if is_new:
            events.append(self._events.item_started(call.item(ItemStatus.PENDING)))
        if call.is_over:
            del self._calls[call_id]
            return [*events, self._events.item_completed(call.item())]
        events += self._progress(call, before, is_new=is_new)
        if len(self._calls) > OPEN_CALLS_LIMIT:
            _, oldest = self._calls.popitem(last=False)
            events.append(self._events.item_completed(oldest.item(ItemStatus.INTERRUPTED)))
        return events

    def _progress(self, call: ToolCall, before: str, *, is_new: bool) -> Events:
        output = call.output
        if isinstance(call.item(), CommandExecutionItem):
            if output == before:
                return []
            passed = self._budget.take(output)
            delta = e.CommandOutputDelta(
                self._events.thread_id,
                self._events.scope,
                self._events.provider_thread_id,
                call.id,
                passed,
                reset=True,
            )
            return ([delta] if passed else []) + self._tell_budget()
        if is_new:
            return []
        return [
            e.ToolCallProgress(
                self._events.thread_id,
                self._events.scope,
                self._events.provider_thread_id,
                call.id,
                call.title or None,
            )
        ]

    def _close_calls(self, status: ItemStatus) -> Events:
        calls = list(self._calls.values())
        self._calls.clear()
        return [self._events.item_completed(call.item(status)) for call in calls]

    # --- plan and usage -----------------------------------------------------------------------

    def _plan(self, entries: list[object]) -> e.ThreadEvent:
        steps = tuple(
            e.PlanStep(as_text(entry.get("content")), _STEPS.get(as_text(entry.get("status"))))
            for entry in map(as_map, entries)
        )
        return e.TurnPlanUpdated(
            self._events.thread_id, self._events.scope, self._events.provider_thread_id, steps
        )

    def _context(self, update: Json) -> e.ThreadEvent:
        return e.ContextWindowUsageUpdated(
            self._events.thread_id,
            self._events.scope,
            self._events.provider_thread_id,
            e.ContextWindowUsage(
                number_or_none(update.get("used")), number_or_none(update.get("size")), False
            ),
        )

    def _used(self, result: Json) -> Events:
        usage = as_map(result.get("usage"))
        if not usage:
            return []
        counts = e.TokenCounts(
            number_or_none(usage.get("totalTokens")) or 0,
            number_or_none(usage.get("inputTokens")) or 0,
            number_or_none(usage.get("cachedReadTokens")) or 0,
            number_or_none(usage.get("outputTokens")) or 0,
            number_or_none(usage.get("thoughtTokens")) or 0,
        )
        return [
            e.TokenUsageUpdated(
                self._events.thread_id,
                self._events.scope,
                self._events.provider_thread_id,
                e.TokenUsage(counts, counts, None),
            )
        ]


def outside_of_turn(
    thread: ThreadEvents, turn_id: str | None, provider_id: str, update: Json
) -> Events:
    """An update that needs no turn; what belongs to a turn and comes outside of one is dropped."""
    kind = as_text(update.get("sessionUpdate"), "unknown")
    if kind == "session_info_update":
        title = as_text(update.get("title")).removeprefix("[bb] ")
        if not title:
            return []
        return [
            e.ThreadNameUpdated(
                thread.thread_id, e.ThreadScope(), thread.provider_thread_id, title
            )
        ]
    if kind in _OF_A_TURN:
        return []
    raw = raw_event("session/update", dict(update))
    return [thread.unhandled(turn_id, provider_id, kind, raw)]


_OF_A_TURN = frozenset(
    {
        "agent_message_chunk",
        "agent_thought_chunk",
        "user_message_chunk",
        "tool_call",
        "tool_call_update",
        "plan",
        "usage_update",
    }
)
