"""Strings as the other side counts and trims them.

The contract's limits come from JavaScript: lengths are UTF-16 code units, and blank is what
``String.prototype.trim`` leaves empty.
"""

_BLANK = "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"


def wire_length(text: str) -> int:
    """Length in UTF-16 code units."""
    if text.isascii():
        return len(text)
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def cut_to_wire_length(text: str, limit: int) -> str:
    """The beginning of a text, at most ``limit`` UTF-16 code units; no character is cut in half."""
    if text.isascii():
        return text[:limit]
    beginning = text[:limit]
    # Characters are at most two units, so this ends soon: half of what is too much goes each time.
    while (excess := wire_length(beginning) - limit) > 0:
        beginning = beginning[: -((excess + 1) // 2)]
    return beginning


def is_blank(text: str) -> bool:
    """Whether nothing is left after trimming."""
    return not text.strip(_BLANK)
