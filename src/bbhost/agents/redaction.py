"""Taking credentials out of what agents write before it is shown. Pure.

An agent's environment holds the user's API keys, and programs that fail like to print what they were
given. What is known to be secret is recognised by value, the rest by its shape.
"""

import re
from collections.abc import Mapping

HIDDEN = "[redacted]"
_SHORTEST = 8
"""Shorter values are words that happen to be in a variable, and would be hidden everywhere."""
_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|AUTH|COOKIE", re.IGNORECASE)
_NOT_SECRET = re.compile(r"SOCK|FILE|PATH|DIR$", re.IGNORECASE)
_SHAPES = re.compile(
    r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}"
    r"|\bgithub_pat_[A-Za-z0-9_]{20,}"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|\bAIza[0-9A-Za-z_-]{30,}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*"
)
_BEARER = re.compile(r"(\b(?:bearer|authorization:)\s+)\S{8,}", re.IGNORECASE)


class Redactor:
    """Hides the secrets of one environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        values = {
            value
            for name, value in environ.items()
            if len(value) >= _SHORTEST and _NAME.search(name) and not _NOT_SECRET.search(name)
        }
        # The longest first: one secret may begin with another.
        self._values = sorted(values, key=len, reverse=True)

    def redact(self, text: str) -> str:
        """``text`` without credentials."""
        for value in self._values:
            text = text.replace(value, HIDDEN)
        return _BEARER.sub(rf"\1{HIDDEN}", _SHAPES.sub(HIDDEN, text))
