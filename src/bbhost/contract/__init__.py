"""The wire: what is said between a daemon and its control server, and nothing about why.

Values only. ``version`` names the protocol, ``commands``, ``results`` and ``table`` are what a
server may ask, ``events`` and ``items`` what happened in a thread, ``interactions`` and
``execution`` what both share, ``session`` the HTTP bodies, ``messages`` the WebSocket frames.
``codec`` turns all of them into JSON and back; ``docs/wire.md`` says who tolerates what.
"""
