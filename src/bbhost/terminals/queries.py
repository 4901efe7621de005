"""Control sequences that make a terminal emulator answer, and the answers. Pure.

An emulator types its answer into the pty as if the user had. That is right when a program asks and
wrong when old output is shown again: nobody waits for the answer, and the shell takes it for input.
So queries are cut out of a replay; everything else (text, colours, modes, titles) stays.

Recognised, in 7-bit form and as UTF-8 encoded C1 controls, also with control characters inside
(emulators act on those and go on): DSR, DA1 to DA3, DECID, DECRQM, DECREQTPARM, DECRQPSR, DECRQTSR,
DECRQUPSS, DECRQDE, DECRQCRA, DECRQLP, window and title reports, XTVERSION, XTQMODKEYS, XTQFMTKEYS,
XTSMGRAPHICS, XTREPORTCOLORS, XTREPORTSGR, the kitty keyboard and graphics queries, DECRQSS,
XTGETTCAP, XTGETXRES, OSC colour and other "?" queries, OSC 52 and other clipboard access, iTerm2
reports and requests, ENQ.
"""

import re
from collections.abc import Iterator

# Control characters that do not end a sequence: all but CAN, SUB and ESC.
_INERT = rb"\x00-\x17\x19\x1c-\x1f\x7f"
_SKIP = rb"[" + _INERT + rb"]*+"
_PARAMETERS = rb"[" + _INERT + rb"\x20-\x3f]*+"

# A string (OSC, DCS, APC) goes on to its terminator. ESC ends it whatever follows; so does a C1
# control, which is two bytes in UTF-8; CAN and SUB cancel it, and then it means nothing.
_END = rb"(?:\x1b\\|\xc2\x9c|(?=\x1b|\xc2[\x80-\x9f]))"
_OSC_TEXT = rb"(?:[^\x07\x18\x1a\x1b\xc2]++|\xc2(?![\x80-\x9f]))*+"
_TEXT = rb"(?:[^\x18\x1a\x1b\xc2]++|\xc2(?![\x80-\x9f]))*+"

# Final letters of CSI sequences that may be queries. m, S and g are so frequent otherwise that the
# "?" of their queries is asked for right here.
_CSI = _PARAMETERS + rb"[nctxqpwuvyR|]|" + _SKIP + rb"\?" + _PARAMETERS + rb"[mSg]"

# The set of first bytes comes first, and is looked back on: so the search skips plain text quickly.
_CANDIDATE = re.compile(
    rb"[\x05\x1b\xc2](?:"
    rb"(?P<enq>(?<=\x05))"
    rb"|(?:(?<=\x1b)" + _SKIP + rb"\[|(?<=\xc2)\x9b)(?P<csi>" + _CSI + rb")"
    rb"|(?:(?<=\x1b)"
    + _SKIP
    + rb"\]|(?<=\xc2)\x9d)(?P<osc>"
    + _OSC_TEXT
    + rb")(?:\x07|"
    + _END
    + rb")"
    rb"|(?:(?<=\x1b)"
    + _SKIP
    + rb"P|(?<=\xc2)\x90)(?P<dcs>"
    + _TEXT
    + rb")"
    + _END
    + rb"|(?:(?<=\x1b)"
    + _SKIP
    + rb"_|(?<=\xc2)\x9f)(?P<apc>"
    + _TEXT
    + rb")"
    + _END
    + rb"|(?P<decid>(?<=\x1b)"
    + _SKIP
    + rb"Z|(?<=\xc2)\x9a)"
    rb")"
)

_INTRODUCERS = (b"\x1b", b"\xc2\x90", b"\xc2\x9b", b"\xc2\x9d", b"\xc2\x9f")

_CSI_QUERY = re.compile(
    rb"[^>]*n"
    rb"|.*c"
    rb"|0*(?:1[1345689]|2[01])(?:;[\d;]*)?t"
    rb"|[\d;]*x"
    rb"|>[\d;]*q"
    rb"|.*\$p"
    rb"|.*\$w"
    rb"|(?:\?.*|.*[$&])u"
    rb'|.*"v'
    rb"|.*\*y"
    rb"|.*#R"
    rb"|.*['#]\|"
    rb"|\?.*[mSg]"
)
_DCS_QUERY = re.compile(rb"[\d;]*(?:\$q|\+[qQ])")
_OSC_NUMBER = re.compile(rb"0*(\d+)(?:;(.*))?", re.DOTALL)
_OSC_CLIPBOARD = frozenset({b"52", b"5522"})
_OSC_FREE_TEXT = frozenset({b"0", b"1", b"2", b"7", b"8", b"9", b"133", b"633", b"777"})
_ITERM_REQUESTS = (b"Report", b"Request", b"Copy", b"EndCopy", b"Capabilities")
_INERT_BYTES = bytes(byte for byte in range(0x20) if byte not in {0x18, 0x1A, 0x1B}) + b"\x7f"


def find_queries(text: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the spans of the queries that begin from ``start`` on and before ``end``.

    A query that begins before ``end`` is found though it ends behind. One that ``text`` breaks off
    in is not: whoever continues the text continues the query.
    """
    position = start
    while (match := _CANDIDATE.search(text, position, end)) is not None:
        if match.end() >= end - 1:  # its terminator may reach beyond what was searched
            match = _CANDIDATE.match(text, match.start()) or match
        position = match.end()
        if _is_query(match):
            yield match.span()
    # At most one sequence begins before ``end`` and goes on behind it: the last, as any other
    # beginning would have ended it. A first byte without its second may begin one more.
    last = max(text.rfind(introducer, position, end) for introducer in _INTRODUCERS)
    for begin in (last, end - 1):
        if begin >= position and (match := _CANDIDATE.match(text, begin)) is not None:
            position = match.end()
            if _is_query(match):
                yield match.span()


def has_query(text: bytes) -> bool:
    """Whether there is a complete query in ``text``."""
    return next(find_queries(text, 0, len(text)), None) is not None


def _is_query(match: re.Match[bytes]) -> bool:
    kind = match.lastgroup
    if kind in {"enq", "decid"}:
        return True
    body = match[kind or 0].translate(None, _INERT_BYTES)
    if kind == "csi":
        return _CSI_QUERY.fullmatch(body) is not None
    if kind == "dcs":
        return _DCS_QUERY.match(body) is not None
    return _is_osc_query(body) if kind == "osc" else _is_graphics_query(body)


def _is_osc_query(body: bytes) -> bool:
    match = _OSC_NUMBER.fullmatch(body)
    if match is None:
        return False
    number, rest = match[1], match[2] or b""
    if number in _OSC_CLIPBOARD:
        return True
    if number == b"1337":
        return rest.startswith(_ITERM_REQUESTS)
    if number in _OSC_FREE_TEXT:
        return False
    return any(part == b"?" or part.endswith(b"=?") for part in rest.split(b";"))


def _is_graphics_query(body: bytes) -> bool:
    """Whether a kitty graphics command wants an answer."""
    if not body.startswith(b"G"):
        return False
    keys = body[1:].partition(b";")[0].split(b",")
    return b"q=2" not in keys and any(key.startswith((b"i=", b"I=", b"a=q")) for key in keys)


_ANSWERS = re.compile(
    rb"(?:"
    rb"\x1b\[[?>=]?[\d;:]*(?:\$[yu]|[Rcntxy])"  # DSR, DA, DECRPM, window and parameter reports
    rb"|\x1b\[\?[\d;]*[uS]"  # kitty keyboard, graphics attributes
    rb"|\x1b\[[IO]"  # focus
    rb"|\x1b[\]P_][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC, DCS and APC strings
    rb")+"
)


def is_answer(text: bytes) -> bool:
    """Whether input is nothing but answers of an emulator: no key of a user looks like that.

    (F3 with a modifier looks like a cursor report in some emulators; both end in ``R``.)
    """
    return _ANSWERS.fullmatch(text) is not None
