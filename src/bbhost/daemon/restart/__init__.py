"""What outlives a restart of the daemon, and how: terminals, where the service manager can keep them."""
