"""Makes what is here match what the server says: a pure comparison, and the task that applies it."""
