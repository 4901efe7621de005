"""Threads with real agents, in environments of a world in memory."""
