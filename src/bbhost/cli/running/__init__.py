"""Running the hub and the daemon from the command line."""
