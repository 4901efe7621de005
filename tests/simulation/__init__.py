"""The real owners of environments over a world that can be replayed, and crash, at will."""
