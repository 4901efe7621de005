"""The hub's durable memory: one SQLite file, one writer thread, one module of SQL per concern."""
