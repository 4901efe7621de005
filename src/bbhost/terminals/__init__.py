"""Terminals: shells on pseudo-terminals, what they wrote, and showing it again.

``terminal.py`` is one terminal, ``registry.py`` those of one environment, ``directory.py`` finds a
terminal of this host by its id. Output goes to a :class:`~bbhost.terminals.sink.TerminalSink`.
"""
