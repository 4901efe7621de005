"""bbhost: a host daemon that owns the environments of coding agents."""

__version__ = "0.1.0"
