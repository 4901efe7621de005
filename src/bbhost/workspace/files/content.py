"""File contents on the wire: which encoding, which type, how large. Pure."""

import base64
import binascii
from typing import Literal

from bbhost.errors import BbhostError, WireError
from bbhost.workspace.files.mime import is_binary_image, mime_type_of

Encoding = Literal["utf8", "base64"]

MIB = 1024 * 1024
FILE_LIMIT = 25 * MIB
"""Largest file that ``host.read_file`` answers with, bytes."""
IMAGE_LIMIT = 10 * MIB
"""The same for pictures."""
RELATIVE_FILE_LIMIT = 128 * MIB
"""Largest file that ``host.read_file_relative`` answers with. The contract names no limit there;
this one keeps a single command from taking all memory (the answer needs several times its size)."""


class FileTooLargeError(BbhostError):
    """The file is larger than the command may answer with."""

    code = "file_too_large"


def size_limit(path: str) -> int:
    """Largest size that ``host.read_file`` answers with for this name, bytes."""
    return IMAGE_LIMIT if is_binary_image(mime_type_of(path)) else FILE_LIMIT


def check_size(path: str, size: int, limit: int) -> None:
    """Refuse more than ``limit`` bytes.

    Raises:
        FileTooLargeError: ``size`` is larger.
    """
    if size > limit:
        raise FileTooLargeError(f"File is larger than {limit // MIB} MiB: {path}")


def encode_content(path: str, data: bytes) -> tuple[str, Encoding]:
    """Text for the wire, and its encoding: ``utf8`` or ``base64``."""
    if not is_binary_image(mime_type_of(path)):
        try:
            return data.decode("utf-8"), "utf8"
        except UnicodeDecodeError:
            pass
    return base64.b64encode(data).decode("ascii"), "base64"


def decode_content(content: str, encoding: str) -> bytes:
    """Bytes of what a command asks to write.

    Raises:
        WireError: the text is not base64, or the encoding is unknown.
    """
    if encoding == "base64":
        try:
            return base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError) as error:
            raise WireError("content is not base64", path="content") from error
    if encoding != "utf8":
        raise WireError(f"unknown content encoding {encoding!r}", path="contentEncoding")
    try:
        return content.encode("utf-8")
    except UnicodeEncodeError:
        # Half a surrogate pair cannot be stored as UTF-8; it becomes the replacement character.
        return content.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
