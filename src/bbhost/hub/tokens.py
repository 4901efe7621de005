"""The access token of the public API: a file only its owner can read.

Loopback is not authentication: every user of the machine and, through DNS rebinding, every web page
reaches it. So the token is made once, exclusively, with mode 0600, and a file that others could have
read is refused rather than used.
"""

import os
import secrets
import stat
from pathlib import Path

from bbhost.errors import ConfigError

LONGEST_TOKEN_BYTES = 4_096
SHORTEST_TOKEN_CHARACTERS = 16


def load_or_create_token(path: Path) -> str:
    """Return the token in ``path``, made where there is none.

    Raises:
        ConfigError: the file is a link, is not ours, can be read by others, or holds no token.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return _read_token(path)
    token = secrets.token_urlsafe(32)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    return token


def _read_token(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"the token file {path} cannot be read: {error.strerror}") from error
    try:
        _check_private(path, os.fstat(descriptor))
        text = os.read(descriptor, LONGEST_TOKEN_BYTES).decode("ascii", "replace").strip()
    finally:
        os.close(descriptor)
    if len(text) < SHORTEST_TOKEN_CHARACTERS or not _is_token(text):
        raise ConfigError(f"the token file {path} holds no token; delete it, and one is made")
    return text


def _check_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"the token file {path} is not a regular file")
    if status.st_uid != os.geteuid():
        raise ConfigError(f"the token file {path} belongs to another user")
    if status.st_mode & 0o077:
        raise ConfigError(
            f"the token file {path} can be used by others (mode"
            f" {stat.S_IMODE(status.st_mode):04o}); delete it, and a new token is made"
        )


def _is_token(text: str) -> bool:
    return all(
        character.isascii() and (character.isalnum() or character in "-_") for character in text
    )
