"""What the hub answers when it does not do what it was asked."""

from bbhost.errors import BbhostError


class ApiError(BbhostError):
    """An answer other than success: an HTTP status, a code for programs and a sentence for people.

    Args:
        status: HTTP status.
        retryable: said in the body where given; otherwise clients go by the status.
    """

    code = "invalid_request"

    def __init__(
        self, status: int, code: str, message: str, *, retryable: bool | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.status = status
        self.retryable = retryable


def invalid_request(message: str, status: int = 400) -> ApiError:
    """Return the error for a request that does not follow the contract."""
    return ApiError(status, "invalid_request", message)


def unauthorized() -> ApiError:
    """Return the one answer to every wrong or missing credential; it tells nothing more."""
    return ApiError(401, "unauthorized", "Unauthorized")


def inactive_session() -> ApiError:
    """Return the answer for a session that is unknown, closed, replaced or expired."""
    return ApiError(401, "inactive_session", "The session is not active; open a new one")


def not_found(kind: str, identifier: str) -> ApiError:
    """Return the error for a ``kind`` (such as ``environment``) that is not known."""
    return ApiError(404, f"{kind}_not_found", f"No {kind} {identifier!r} is known")


def host_disconnected(host_id: str) -> ApiError:
    """Return the error for a request that needs a daemon that is not connected."""
    return ApiError(
        503,
        "host_disconnected",
        f"The daemon of host {host_id!r} is not connected; start it and try again",
        retryable=True,
    )
