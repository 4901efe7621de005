"""Which wire contract this is."""

PROTOCOL_VERSION = 26
"""Sent at every session open; a server of another version refuses the session."""

SUBPROTOCOL = "bb-host-daemon.v1"
"""The only WebSocket subprotocol, offered by the daemon and echoed by the server."""
