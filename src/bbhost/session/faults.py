"""What a command that failed is answered with: a code of the contract and a sentence."""

import errno
from logging import getLogger

import trio
from attrs import frozen

from bbhost.errors import BbhostError
from bbhost.toolkit.groups import first_of

log = getLogger(__name__)

MESSAGE_LIMIT = 20_000
"""Characters of an error message; the rest is cut (a failing command may print megabytes)."""


@frozen
class Fault:
    """An error code and a message that is never empty."""

    code: str
    message: str


def fault_of(error: Exception, what: str) -> Fault:
    """Turn what a handler raised into an answer, and log what nobody expected.

    Args:
        error: of any kind; of a group, the first member that says something decides.
        what: the command, for the log.
    """
    cause = _telling(error)
    if isinstance(cause, BbhostError):
        if not cause.expected:
            log.info("%s failed: %s: %s", what, cause.code, cause.message)
        return Fault(cause.code or "command_failed", _bounded(cause.message))
    if isinstance(cause, OSError) and cause.errno is not None:
        log.warning("%s failed: %s", what, cause, exc_info=error)
        return Fault(errno.errorcode.get(cause.errno, "command_failed"), _bounded(str(cause)))
    log.error("%s failed unexpectedly", what, exc_info=error)
    if isinstance(cause, trio.TooSlowError):
        return Fault("command_failed", "it took too long")
    return Fault("command_failed", _bounded(f"{type(cause).__name__}: {cause}"))


def _telling(error: Exception) -> Exception:
    for kind in (BbhostError, OSError, Exception):
        found = first_of(error, kind)
        if found is not None:
            return found
    return error


def _bounded(message: str) -> str:
    text = message.strip() or "unspecified failure"
    if len(text) <= MESSAGE_LIMIT:
        return text
    return text[: MESSAGE_LIMIT - 2] + " …"
