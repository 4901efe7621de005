"""A terminal of an environment in the terminal of the user."""
