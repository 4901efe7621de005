"""Trio helpers without domain words, one concept per module."""
