"""From the notifications of the app-server to events. Pure: fed with messages, returns events."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

from bbhost.agents.bounds import TurnBudget
from bbhost.agents.codex.faults import error_info
from bbhost.agents.codex.items import DROPPED, translate_item
from bbhost.agents.raw import (
    Json,
    as_list,
    as_map,
    as_text,
    number_or_none,
    raw_event,
    text_or_none,
)
from bbhost.agents.turn_events import ThreadEvents
from bbhost.contract import events as e
from bbhost.domain.ids import ThreadId

OPEN_ITEMS_LIMIT = 256
"""Items remembered in case a person is asked about them; the oldest is forgotten first."""

Events = list[e.ThreadEvent]
_QUIET = frozenset(
    {
        "item/reasoning/summaryPartAdded",
        "rawResponseItem/completed",
        "serverRequest/resolved",
        "thread/status/changed",
    }
)
"""Notifications that say nothing which other events do not say."""
_STEPS: dict[str, Literal["pending", "active", "completed", "failed"]] = {
    "pending": "pending",
    "inProgress": "active",
    "completed": "completed",
    "failed": "failed",
}


class CodexTranslator:
    """What is known of one conversation with the app-server."""

    def __init__(self, thread_id: ThreadId, provider_id: str) -> None:
        self._thread_id = thread_id
        self._provider_id = provider_id
        self.provider_thread_id = ""
        """The app-server's id of the conversation; empty until it is known."""
        self.active_turn: str | None = None
        self._waiting_request: str | None = None
        self._open: OrderedDict[str, Json] = OrderedDict()
        self._budget = TurnBudget()
        self._told_budget = False

    @property
    def thread(self) -> ThreadEvents:
        """Makes events of this thread."""
        return ThreadEvents(self._thread_id, self.provider_thread_id)

    # --- turns --------------------------------------------------------------------------------

    def expect_turn(self, request_id: str) -> None:
        """The next turn that begins does so with this request."""
        self._waiting_request = request_id

    def unexpect_turn(self) -> None:
        """No turn began with the request."""
        self._waiting_request = None

    def begin_turn(self, turn_id: str) -> Events:
        """A turn began; it is told by an answer and by a notification, whichever comes first."""
        if not turn_id or self.active_turn == turn_id:
            return []
        self.active_turn = turn_id
        self._budget, self._told_budget = TurnBudget(), False
        turn = self.thread.turn(turn_id)
        request, self._waiting_request = self._waiting_request, None
        return [turn.started(), *([turn.accepted(request)] if request else ())]

    def steered(self, turn_id: str, request_id: str) -> Events:
        """The active turn took another request."""
        return [self.thread.turn(turn_id).accepted(request_id)]

    def _end_turn(self, raw: Json) -> Events:
        turn_id = as_text(raw.get("id")) or self.active_turn or ""
        if not turn_id:
            return []
        begun = self.begin_turn(turn_id)
        self.active_turn = None
        self._open.clear()
        status = as_text(raw.get("status"), "completed")
        message = None
        if status not in {"completed", "interrupted"}:
            status = "failed"
            message = as_text(as_map(raw.get("error")).get("message")) or "The turn failed"
        return [*begun, self.thread.turn(turn_id).completed(status, message)]

    # --- notifications ------------------------------------------------------------------------

    def notified(self, method: str, params: Json) -> Events:
        """One notification. Of other conversations of the same process, nothing is told."""
        other = text_or_none(params.get("threadId"))
        if other is not None and self.provider_thread_id and other != self.provider_thread_id:
            return []
        translate = _TABLE.get(method)
        if translate is not None:
            return translate(self, params)
        if method in _QUIET or not self.provider_thread_id:
            return []
        raw = raw_event(method, dict(params))
        return [self.thread.unhandled(self._turn_of(params), self._provider_id, method, raw)]

    def waiting(self, item_id: str) -> Events:
        """A person is asked about an item."""
        raw = self._open.get(item_id)
        item = None if raw is None else translate_item(raw, waiting=True)
        if item is None or self.active_turn is None:
            return []
        return [self.thread.turn(self.active_turn).item_started(item)]

    def item_of(self, item_id: str) -> Json:
        """The item as it was when it began; empty where it is not known."""
        return self._open.get(item_id, {})

    def _turn_of(self, params: Json) -> str | None:
        turn_id = text_or_none(params.get("turnId"))
        turn_id = turn_id or text_or_none(as_map(params.get("turn")).get("id"))
        return self.active_turn if turn_id is None else turn_id

    def _turn_started(self, params: Json) -> Events:
        return self.begin_turn(as_text(as_map(params.get("turn")).get("id")))

    def _turn_completed(self, params: Json) -> Events:
        return self._end_turn(as_map(params.get("turn")))

    def _thread_started(self, params: Json) -> Events:
        return []  # told when the request for it is answered

    def _name(self, params: Json) -> Events:
        name = as_text(params.get("threadName")) or as_text(params.get("name"))
        if not name:
            return []
        return [
            e.ThreadNameUpdated(
                self._thread_id,
                e.ThreadScope(),
                self.provider_thread_id,
                name.removeprefix("[bb] "),
            )
        ]

    def _compacted(self, params: Json) -> Events:
        scope = self._scope(params)
        if scope is None:
            return []
        return [e.ThreadCompacted(self._thread_id, scope, self.provider_thread_id)]

    def _scope(self, params: Json) -> e.TurnScope | None:
        turn_id = self._turn_of(params)
        return None if turn_id is None else e.TurnScope(turn_id)

    def _item_started(self, params: Json) -> Events:
        raw = as_map(params.get("item"))
        if raw.get("type") in DROPPED:
            return []
        item, scope = translate_item(raw), self._scope(params)
        if item is None or scope is None:
            return self._unhandled_item("item/started", params)
        self._open[item.id] = raw
        while len(self._open) > OPEN_ITEMS_LIMIT:
            self._open.popitem(last=False)
        return [self.thread.turn(scope.turn_id).item_started(item)]

    def _item_completed(self, params: Json) -> Events:
        raw = as_map(params.get("item"))
        if raw.get("type") in DROPPED:
            return []
        item, scope = translate_item(raw), self._scope(params)
        if item is None or scope is None:
            return self._unhandled_item("item/completed", params)
        self._open.pop(item.id, None)
        return [self.thread.turn(scope.turn_id).item_completed(item)]

    def _unhandled_item(self, method: str, params: Json) -> Events:
        raw = raw_event(method, dict(params))
        return [self.thread.unhandled(self._turn_of(params), self._provider_id, method, raw)]

    def _plan(self, params: Json) -> Events:
        scope = self._scope(params)
        if scope is None:
            return []
        steps = tuple(
            e.PlanStep(as_text(step.get("step")), _STEPS.get(as_text(step.get("status"))))
            for step in map(as_map, as_list(params.get("plan")))
        )
        explanation = text_or_none(params.get("explanation"))
        return [
            e.TurnPlanUpdated(self._thread_id, scope, self.provider_thread_id, steps, explanation)
        ]

    def _diff(self, params: Json) -> Events:
        scope = self._scope(params)
        if scope is None:
            return []
        diff = self._budget.take(as_text(params.get("diff")))
        return [
            e.TurnDiffUpdated(self._thread_id, scope, self.provider_thread_id, diff or None),
            *self._tell_budget(scope),
        ]

    def _tokens(self, params: Json) -> Events:
        scope, usage = self._scope(params), as_map(params.get("tokenUsage"))
        if scope is None:
            return []
        last = _counts(as_map(usage.get("last")))
        window = number_or_none(usage.get("modelContextWindow"))
        told = e.TokenUsage(_counts(as_map(usage.get("total"))), last, window)
        context = e.ContextWindowUsage(last.total_tokens, window, False)
        return [
            e.TokenUsageUpdated(self._thread_id, scope, self.provider_thread_id, told),
            e.ContextWindowUsageUpdated(self._thread_id, scope, self.provider_thread_id, context),
        ]

    def _error(self, params: Json) -> Events:
        error = as_map(params.get("error"))
        return [
            self.thread.error(
                self._turn_of(params),
                as_text(error.get("message")) or as_text(params.get("message")) or "error",
                detail=text_or_none(error.get("additionalDetails")),
                will_retry=params.get("willRetry") is True,
                info=error_info(error.get("codexErrorInfo")),
            )
        ]

    def _warning(
        self, category: Literal["deprecation", "config", "general"], params: Json
    ) -> Events:
        summary = text_or_none(params.get("summary")) or text_or_none(params.get("message"))
        return [
            e.ProviderWarning(
                self._thread_id,
                self.thread.scope(self.active_turn),
                self.provider_thread_id,
                category,
                summary,
                text_or_none(params.get("details")),
            )
        ]

    def _delta(self, make: "type[_AnyDelta]", params: Json) -> Events:
        scope = self._scope(params)
        delta = self._budget.take(as_text(params.get("delta")))
        if scope is None:
            return []
        events: Events = []
        if delta:
            item_id = as_text(params.get("itemId"))
            events.append(make(self._thread_id, scope, self.provider_thread_id, item_id, delta))
        return events + self._tell_budget(scope)

    def _tell_budget(self, scope: e.TurnScope) -> Events:
        if not self._budget.is_exceeded or self._told_budget:
            return []
        self._told_budget = True
        told = "The agent says too much; the rest of this turn is passed on in part"
        return [self.thread.warning(scope.turn_id, told)]

    def _progress(self, params: Json) -> Events:
        scope = self._scope(params)
        if scope is None:
            return []
        return [
            e.McpToolCallProgress(
                self._thread_id,
                scope,
                self.provider_thread_id,
                as_text(params.get("itemId")),
                text_or_none(params.get("message")),
            )
        ]


def _counts(raw: Json) -> e.TokenCounts:
    def number(key: str) -> float:
        return number_or_none(raw.get(key)) or 0

    return e.TokenCounts(
        number("totalTokens"),
        number("inputTokens"),
        number("cachedInputTokens"),
        number("outputTokens"),
        number("reasoningOutputTokens"),
    )


_AnyDelta = (
    e.AgentMessageDelta
    | e.CommandOutputDelta
    | e.FileChangeOutputDelta
    | e.ReasoningSummaryDelta
    | e.ReasoningTextDelta
    | e.PlanDelta
)


def _delta_of(make: "type[_AnyDelta]") -> Callable[[CodexTranslator, Json], Events]:
    return lambda translator, params: translator._delta(make, params)


_TABLE: dict[str, Callable[[CodexTranslator, Json], Events]] = {
    "thread/started": CodexTranslator._thread_started,
    "thread/name/updated": CodexTranslator._name,
    "thread/compacted": CodexTranslator._compacted,
    "thread/tokenUsage/updated": CodexTranslator._tokens,
    "turn/started": CodexTranslator._turn_started,
    "turn/completed": CodexTranslator._turn_completed,
    "turn/plan/updated": CodexTranslator._plan,
    "turn/diff/updated": CodexTranslator._diff,
    "item/started": CodexTranslator._item_started,
    "item/completed": CodexTranslator._item_completed,
    "item/agentMessage/delta": _delta_of(e.AgentMessageDelta),
    "item/commandExecution/outputDelta": _delta_of(e.CommandOutputDelta),
    "item/fileChange/outputDelta": _delta_of(e.FileChangeOutputDelta),
    "item/reasoning/summaryTextDelta": _delta_of(e.ReasoningSummaryDelta),
    "item/reasoning/textDelta": _delta_of(e.ReasoningTextDelta),
    "item/plan/delta": _delta_of(e.PlanDelta),
    "item/mcpToolCall/progress": CodexTranslator._progress,
    "error": CodexTranslator._error,
    "deprecationNotice": lambda self, params: self._warning("deprecation", params),
    "configWarning": lambda self, params: self._warning("config", params),
    "warning": lambda self, params: self._warning("general", params),
}
