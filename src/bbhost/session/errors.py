"""Faults of the link to the server."""

from bbhost.errors import BbhostError


class ServerRefusedError(BbhostError):
    """The server answered a request with an error.

    Args:
        status: HTTP status.
        code: the error body's code, or "" where the body had none.
        message: the error body's message, or the beginning of another body.
        retryable: what the body says; where it says nothing, a 4xx answer is final.
    """

    code = "server_refused"

    def __init__(self, status: int, code: str, message: str, *, retryable: bool | None) -> None:
        told = f"{code}: {message}" if code else message
        super().__init__(f"the server answered {status} {told}".rstrip())
        self.status = status
        self.server_code = code
        self.server_message = message
        self.retryable = status < 400 or status >= 500 if retryable is None else retryable

    @property
    def session_is_gone(self) -> bool:
        """The session id of the request is closed, replaced or expired."""
        return self.status == 401 and self.server_code == "inactive_session"


class ServerUnreachableError(BbhostError):
    """No answer: the network failed, the server took too long, or what came is no HTTP answer."""

    code = "server_unreachable"
    expected = True
    retryable = True


class ServerAnswerError(BbhostError):
    """The answer does not follow the contract, or is larger than its bound."""

    code = "server_answer_invalid"
    retryable = True


ServerError = ServerRefusedError | ServerUnreachableError | ServerAnswerError
"""What a request may fail with; each has ``retryable``."""


class NoSessionError(BbhostError):
    """There is no open session; try again when there is one."""

    code = "no_session"
    expected = True
    retryable = True


class LinkClosedError(BbhostError):
    """The socket is closed; what was to be sent was not, or may not have been."""

    code = "link_closed"
    expected = True


class EventsNotDeliveredError(BbhostError):
    """Events that had to reach the server first did not; they are kept and sent later."""

    code = "events_not_delivered"


class SessionStartError(BbhostError):
    """The first session could not be opened; the daemon ends with exit code 1."""

    code = "session_start_failed"
