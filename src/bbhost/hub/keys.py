"""Secrets of hosts: made, and remembered by their hash only."""

import hashlib
import secrets


def mint_key(prefix: str) -> str:
    """Return a new secret with 384 bits of randomness."""
    return f"{prefix}_{secrets.token_urlsafe(48)}"


def key_hash(key: str) -> str:
    """Return what is stored of a secret. Unsalted on purpose: the secrets are random, not chosen."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
