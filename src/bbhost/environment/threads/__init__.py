"""The threads of environments: who owns them, and what commands may ask of them."""
