"""Strings as the other side counts and trims them.

The contract's limits come from JavaScript: lengths are UTF-16 code units, and blank is what
``String.prototype.trim`` leaves empty.
"""

_BLANK = "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"


def wire_length(text: str) -> int:
    """Length in UTF-16 code units."""
    if text.isascii():
        return len(text)
    return len(text) + sum(1 for one in text if one > "\uffff")


def is_blank(text: str) -> bool:
    """Whether nothing is left after trimming."""
    return not text.strip(_BLANK)
