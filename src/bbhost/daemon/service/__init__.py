"""Installing the daemon as a service of systemd or launchd. Imported by the command line only."""
