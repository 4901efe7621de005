"""Text that can be stored."""


def storable(text: str) -> str:
    """Return ``text`` with lone surrogates replaced.

    JSON may carry half of a character (JavaScript cuts strings anywhere); SQLite takes none. Names
    and messages are for people, who lose nothing; ids with such halves are refused instead.
    """
    return text.encode("utf-8", "replace").decode("utf-8")
