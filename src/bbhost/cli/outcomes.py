"""How a command can end: the word ``--json`` prints and the exit code a script sees.

Both are an interface: words and numbers may be added, never changed.
"""

from enum import IntEnum, StrEnum

from bbhost.errors import BbhostError, ConfigError


class Outcome(StrEnum):
    """The ``outcome`` of every JSON document that the command line prints."""

    OK = "ok"
    FAILED = "failed"
    REFUSED = "refused"
    NOT_FOUND = "not_found"
    UNREACHABLE = "unreachable"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    CONFIGURATION = "configuration"
    INTERRUPTED = "interrupted"


class ExitCode(IntEnum):
    """What a process of the command line ends with."""

    OK = 0
    FAILED = 1
    """It was tried and did not succeed, or a check found something."""
    USAGE = 2
    """The command line was not understood; nothing was tried."""
    UNREACHABLE = 3
    """No hub or daemon answers there."""
    REFUSED = 4
    """Refused, or not found."""
    UNAVAILABLE = 69
    """The hub answers, but the daemon it would need is not connected (EX_UNAVAILABLE)."""
    TIMEOUT = 75
    """No answer in time; trying again may help (EX_TEMPFAIL)."""
    CONFIGURATION = 78
    """A setting or a file is wrong; trying again cannot help (EX_CONFIG)."""
    INTERRUPTED = 130
    """Ctrl-C."""


EXIT_CODES = {
    Outcome.OK: ExitCode.OK,
    Outcome.FAILED: ExitCode.FAILED,
    Outcome.REFUSED: ExitCode.REFUSED,
    Outcome.NOT_FOUND: ExitCode.REFUSED,
    Outcome.UNREACHABLE: ExitCode.UNREACHABLE,
    Outcome.UNAVAILABLE: ExitCode.UNAVAILABLE,
    Outcome.TIMEOUT: ExitCode.TIMEOUT,
    Outcome.CONFIGURATION: ExitCode.CONFIGURATION,
    Outcome.INTERRUPTED: ExitCode.INTERRUPTED,
}


class CommandError(BbhostError):
    """A command that does not succeed.

    Args:
        outcome: the word for programs; the exit code follows from it.
        message: the sentence for people.
        code: what refused it calls the reason.
    """

    code = "command_failed"

    def __init__(self, outcome: Outcome, message: str, *, code: str | None = None) -> None:
        super().__init__(message, code=code or str(outcome))
        self.outcome = outcome


def outcome_of(error: BbhostError) -> Outcome:
    """Return how a command ends that ``error`` ended."""
    if isinstance(error, CommandError):
        return error.outcome
    return Outcome.CONFIGURATION if isinstance(error, ConfigError) else Outcome.FAILED
