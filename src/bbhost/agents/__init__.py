"""Agents: programs that do turns. What they say is translated into the events of the wire contract.

Nothing here knows of sessions or environments: a provider is given a way to start a process, a place
to run in, and a host that takes its events and answers its questions.
"""
