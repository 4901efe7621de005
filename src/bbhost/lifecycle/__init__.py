"""State tables (python-statemachine, synchronous, without effects) and the cores that decide."""
