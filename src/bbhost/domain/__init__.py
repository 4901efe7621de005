"""Frozen values and ids that every package may use. No behaviour beyond validation."""
