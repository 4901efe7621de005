"""Ids that the daemon, or a server made of this package, hands out."""

import re
import secrets

ALPHABET = "23456789abcdefghijkmnpqrstuvwxyz"
"""32 characters; none that is mistaken for another."""

_EVENT_ID = re.compile(rf"hdevt_[{ALPHABET}]{{20}}")
_REQUEST_ID = re.compile(rf"creq_[{ALPHABET}]{{10}}")


def new_producer_event_id() -> str:
    """An id for one event, kept over every retry of its delivery (100 random bits)."""
    return f"hdevt_{_random(20)}"


def new_client_request_id() -> str:
    """An id for one request of a user to a thread (50 random bits)."""
    return f"creq_{_random(10)}"


def new_id(prefix: str, length: int = 10) -> str:
    """A random id ``<prefix>_<length characters>`` of the contract's alphabet."""
    return f"{prefix}_{_random(length)}"


def is_producer_event_id(text: str) -> bool:
    """Whether a server accepts ``text`` as the id of an event."""
    return _EVENT_ID.fullmatch(text) is not None


def is_client_request_id(text: str) -> bool:
    """Whether ``text`` may name a user's request."""
    return _REQUEST_ID.fullmatch(text) is not None


def _random(length: int) -> str:
    return "".join([ALPHABET[byte & 31] for byte in secrets.token_bytes(length)])
