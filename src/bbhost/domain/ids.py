"""Identifiers. Opaque strings on the wire; their own types here so that they cannot be mixed up."""

from typing import NewType

EnvironmentId = NewType("EnvironmentId", str)
ThreadId = NewType("ThreadId", str)
TurnId = NewType("TurnId", str)
TerminalId = NewType("TerminalId", str)
CommandId = NewType("CommandId", str)
SessionId = NewType("SessionId", str)
HostId = NewType("HostId", str)
Incarnation = NewType("Incarnation", int)
"""One life of an environment id, counted from 1; never reused."""
