"""File names as text. A name is bytes to the kernel and to git, and must be text in JSON."""


def text_name(name: bytes) -> str:
    """Return ``name`` as text that any JSON encoder takes.

    A byte that is not UTF-8 becomes ``\\xNN``, so that different names stay different, unless a name holds
    such a sequence literally. Newlines and other control characters are kept.
    """
    return name.decode("utf-8", "backslashreplace")
