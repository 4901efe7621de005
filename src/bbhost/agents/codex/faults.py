"""What the app-server says went wrong, in the words of the wire contract. Pure."""

import re

from bbhost.agents.raw import Json, as_map, as_text, number_or_none
from bbhost.contract import events as e

_CATEGORIES: dict[str, e.ErrorCategory] = {
    "contextWindowExceeded": "context-window-exceeded",
    "sessionBudgetExceeded": "budget-exceeded",
    "usageLimitExceeded": "rate-limit",
    "rateLimitExceeded": "rate-limit",
    "serverOverloaded": "overloaded",
    "flexUnavailable": "overloaded",
    "modelNotFound": "bad-request",
    "cyberPolicy": "policy",
    "bioPolicy": "policy",
    "misalignmentPolicyViolation": "policy",
    "httpConnectionFailed": "connection-failed",
    "responseStreamConnectionFailed": "connection-failed",
    "internalServerError": "internal",
    "unauthorized": "unauthorized",
    "badRequest": "bad-request",
    "threadRollbackFailed": "thread-rollback-failed",
    "sandboxError": "sandbox",
    "responseStreamDisconnected": "stream-disconnected",
    "responseTooManyFailedAttempts": "too-many-failed-attempts",
    "activeTurnNotSteerable": "active-turn-not-steerable",
}


def error_info(raw: object) -> e.ErrorInfo | None:
    """Either a name, or an object with the name as its only key and the facts beneath it."""
    if raw is None:
        return None
    facts: Json = {}
    name = as_text(raw)
    if not name:
        for name, value in as_map(raw).items():  # noqa: B007 - the only key
            facts = as_map(value)
            break
    code = re.sub(r"_(\w)", lambda match: match[1].upper(), name)
    status = number_or_none(facts.get("httpStatusCode"))
    return e.ErrorInfo(_CATEGORIES.get(code, "unknown"), name or None, status)
