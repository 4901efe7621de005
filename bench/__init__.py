"""Measures the daemon process: what it costs and how that grows. Run with ``python -m bench``."""
