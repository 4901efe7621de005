"""The hub's routes: the internal contract for daemons and the public API for people and programs."""
