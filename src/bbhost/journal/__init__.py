"""Durable memory on SQLite: environments, commands, results, events, processes."""
