"""Recognising the same change at another place in history. Pure.

The digest of a patch leaves out line numbers and all white space, as ``git patch-id`` does, so the
change is recognised after others moved its lines or re-indented them. Of binary files the blob ids
count, because nothing else tells one change of them from another.
"""

import hashlib
import re

_COMMIT_LINE = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_BLANKS = b" \t\r\n\v\f"


def parse_patches(output: bytes) -> dict[str, bytes]:
    """Return the digest of each patch in the output of ``git diff-tree --stdin -p``, by commit id."""
    digests = {}
    sha = None
    lines: list[bytes] = []
    # In a patch every line begins with a letter of its kind or a header word, never with a commit id
    # alone: context and changed lines begin with a space, plus, minus or backslash.
    for line in output.split(b"\n"):
        if _COMMIT_LINE.fullmatch(line):
            if sha is not None:
                digests[sha] = patch_digest(lines)
            sha, lines = line.decode("ascii"), []
        else:
            lines.append(line)
    if sha is not None:
        digests[sha] = patch_digest(lines)
    return digests


def patch_digest(lines: list[bytes]) -> bytes:
    """Return a digest that is equal for patches that make the same change."""
    digest = hashlib.sha256()
    index_line = b""
    in_header = False
    for line in lines:
        if line.startswith(b"diff --git "):
            in_header = True
        if in_header and line.startswith(b"index "):
            index_line = line
            continue
        if line.startswith(b"@@ "):
            in_header = False
            continue
        if in_header and line.startswith(b"Binary files "):
            digest.update(index_line)
        text = line.translate(None, _BLANKS)
        if text:
            digest.update(text + b"\n")
    return digest.digest()
