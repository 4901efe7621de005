"""Who may ask the hub anything. Pure: the facts of a request go in, a refusal or nothing comes out.

Loopback is not authentication. A page in the user's browser reaches 127.0.0.1 through DNS rebinding
(so the ``Host`` header is checked against a list, also where ``Origin`` agrees with it), through
plain form posts (so the content type is checked before a body is looked at) and through WebSockets,
which no same-origin rule covers (so ``Origin`` is checked there as well).
"""

import hmac
from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from bbhost.contract.version import SUBPROTOCOL
from bbhost.hub.errors import ApiError, invalid_request, unauthorized

PUBLIC_SUBPROTOCOL = "bbhost.v1"
"""Offered by browsers beside the token, and the one the hub chooses."""
TOKEN_SUBPROTOCOL = "bbhost.bearer."  # noqa: S105 - a prefix, not a secret
"""Prefix of a subprotocol that carries the token: browsers cannot set headers on a WebSocket."""

LOOPBACK_NAMES = ("127.0.0.1", "[::1]", "localhost")
JSON_TYPE = "application/json"
UPLOAD_TYPE = "application/octet-stream"
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})


@frozen
class Policy:
    """What a hub lets in."""

    token: str | None
    """None: no token is asked for."""
    hosts: frozenset[str]
    """Values of the ``Host`` header, lower case."""
    origins: frozenset[str]
    """Values of the ``Origin`` header, lower case."""


@frozen
class RequestFacts:
    """What is known of a request before its body is read."""

    is_websocket: bool
    method: str
    path: str
    headers: Mapping[str, Sequence[str]]
    """By lower-case name, every value in order."""

    def one(self, name: str) -> str | None:
        """Return the value of a header; None where it is missing.

        Raises:
            ApiError: 400, it is there more than once, and one of them may be a lie.
        """
        values = self.headers.get(name, ())
        if len(values) > 1:
            raise invalid_request(f"More than one {name} header")
        return values[0] if values else None


def make_policy(
    *, token: str | None, port: int, extra_hosts: Iterable[str], extra_origins: Iterable[str]
) -> Policy:
    """Return the policy of a hub that listens on ``port``.

    ``extra_hosts`` are names with or without a port; without one, both forms are let in.
    """
    hosts = {f"{name}:{port}" for name in LOOPBACK_NAMES}
    if port == 80:
        hosts |= set(LOOPBACK_NAMES)
    for name in extra_hosts:
        hosts.add(name.lower())
        if not _has_port(name):
            hosts.add(f"{name.lower()}:{port}")
    origins = {f"http://{host}" for host in hosts} | {origin.lower() for origin in extra_origins}
    return Policy(token, frozenset(hosts), frozenset(origins))


def judge(policy: Policy, facts: RequestFacts) -> None:
    """Let a request pass, or refuse it.

    ``/internal`` has its own credentials, which its routes check; everything else here applies to it.

    Raises:
        ApiError: 403 wrong host or origin, 401 no or wrong token, 415 wrong content type.
    """
    _judge_host(policy, facts)
    is_internal = facts.path.startswith("/internal/")
    _judge_origin(policy, facts, is_internal=is_internal)
    if facts.path != "/health" and not is_internal:
        _judge_token(policy, facts)
    _judge_content_type(facts)


def bearer(facts: RequestFacts) -> str | None:
    """Return the bearer credential of the ``Authorization`` header, the only place for one."""
    value = facts.one("authorization")
    if value is None:
        return None
    scheme, _, credential = value.partition(" ")
    return credential.strip() or None if scheme.lower() == "bearer" else None


def offered_subprotocols(facts: RequestFacts) -> list[str]:
    """Return the WebSocket subprotocols the client offers."""
    values = facts.headers.get("sec-websocket-protocol", ())
    return [item.strip() for value in values for item in value.split(",") if item.strip()]


def offers_daemon_subprotocol(facts: RequestFacts) -> bool:
    """Whether the client speaks the daemon's protocol."""
    return SUBPROTOCOL in offered_subprotocols(facts)


def _judge_host(policy: Policy, facts: RequestFacts) -> None:
    host = facts.one("host")
    if host is None or host.lower() not in policy.hosts:
        raise ApiError(
            403,
            "forbidden_host",
            "This address is not served; use the one the hub was started with, or allow its name",
        )


def _judge_origin(policy: Policy, facts: RequestFacts, *, is_internal: bool) -> None:
    origin = facts.one("origin")
    if origin is not None:
        if origin.lower() not in policy.origins:
            raise _forbidden_origin()
    elif facts.one("sec-fetch-site") not in {None, "same-origin", "none"}:
        raise _forbidden_origin()
    elif facts.is_websocket and policy.token is None and not is_internal:
        # Without a token the origin is all there is to tell a page from a program.
        raise _forbidden_origin()


def _forbidden_origin() -> ApiError:
    return ApiError(403, "forbidden_origin", "Pages of other origins may not ask this hub")


def _judge_token(policy: Policy, facts: RequestFacts) -> None:
    if policy.token is None:
        return
    given = bearer(facts)
    if given is None and facts.is_websocket:
        given = next(
            (
                offered.removeprefix(TOKEN_SUBPROTOCOL)
                for offered in offered_subprotocols(facts)
                if offered.startswith(TOKEN_SUBPROTOCOL)
            ),
            None,
        )
    if given is None or not _same(given, policy.token):
        raise unauthorized()


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(
        given.encode("utf-8", "surrogatepass"), wanted.encode("utf-8", "surrogatepass")
    )


def _judge_content_type(facts: RequestFacts) -> None:
    if facts.is_websocket or facts.method not in _BODY_METHODS:
        return
    wanted = UPLOAD_TYPE if facts.path.endswith("/attachments") else JSON_TYPE
    given = (facts.one("content-type") or "").partition(";")[0].strip().lower()
    if given != wanted:
        raise ApiError(415, "unsupported_media_type", f"The content type must be {wanted}")


def _has_port(name: str) -> bool:
    return name.rpartition(":")[2].isdigit() and not name.endswith("]")
