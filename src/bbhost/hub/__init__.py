"""The embedded control server: the server's side of the wire contract, and a public API.

``serve`` runs it; ``services/`` decides and remembers; ``storage/`` is its SQLite file; ``http/`` is
what is heard and said. The daemon knows nothing of this package: both meet at the wire.
"""
