"""The program: configuration, the ladder of start and stop, and what each command does."""
