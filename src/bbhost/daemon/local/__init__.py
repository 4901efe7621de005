"""What the daemon answers on this machine: the control socket for the CLI, and the local HTTP API."""
