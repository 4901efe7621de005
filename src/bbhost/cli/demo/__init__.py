"""The demonstration: a script of steps over real processes, each of which is checked."""
