"""The values of the public API, as they appear (in camelCase) in its JSON."""
