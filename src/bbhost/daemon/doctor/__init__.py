"""Compares what the daemon believes with what the kernel and git say. Imported only when asked for."""
