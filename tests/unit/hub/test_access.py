"""The pure judgement at the door, and the other pure parts of the hub."""

import pytest

from bbhost.hub.api.environments import RequestedCheckout, RequestedWorkspace
from bbhost.hub.errors import ApiError
from bbhost.hub.http.access import Policy, RequestFacts, judge, make_policy
from bbhost.hub.http.asgi import query_values
from bbhost.hub.http.host_routes import PathsQuery
from bbhost.hub.http.operations import read_query
from bbhost.hub.services.placement import plan_workspace, repository_name
from bbhost.hub.text import storable

TOKEN = "a-token-of-some-length"


def policy(token: str | None = TOKEN) -> Policy:
    """Return the policy of a hub on port 1234."""
    return make_policy(
        token=token,
        port=1234,
        extra_hosts=("Hub.example", "other.example:443"),
        extra_origins=("https://App.example",),
    )


def facts(
    method: str = "GET", path: str = "/api/v1/hosts", *, websocket: bool = False, **headers: str
) -> RequestFacts:
    """Return the facts of a request that is let in unless ``headers`` spoil it."""
    given = {"host": "127.0.0.1:1234", "authorization": f"Bearer {TOKEN}"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    return RequestFacts(
        websocket, method, path, {name: (value,) for name, value in given.items() if value}
    )


def status_of(request: RequestFacts, token: str | None = TOKEN) -> int:
    """Return 200 where a request passes, else the status of its refusal."""
    try:
        judge(policy(token), request)
    except ApiError as error:
        return error.status
    return 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:1234", 200), ("localhost:1234", 200), ("[::1]:1234", 200),
        ("hub.example", 200), ("HUB.example:1234", 200), ("other.example:443", 200),
        ("127.0.0.1", 403), ("other.example", 403), ("evil.example:1234", 403),
        ("127.0.0.1:1234.evil.example", 403), ("127.0.0.1:1234 ", 403), ("", 403),
    ],
)  # fmt: skip
def test_hosts(host: str, status: int) -> None:
    """Only names of the list, with their port."""
    assert status_of(facts(host=host)) == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("", 200), ("http://127.0.0.1:1234", 200), ("https://app.example", 200),
        ("http://hub.example:1234", 200), ("https://127.0.0.1:1234", 403), ("null", 403),
        ("http://app.example", 403), ("http://127.0.0.1:1234/", 403), ("file://", 403),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/api/v1/hosts", "/health", "/internal/session/open"])
def test_origins(origin: str, status: int, path: str) -> None:
    """The hub's own and configured ones, on every route alike."""
    assert status_of(facts(origin=origin, path=path)) == status


def test_a_token_is_needed_but_for_health_and_internal() -> None:
    """Wrong schemes and tokens that only begin right are wrong."""
    for wrong in (
        "",
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer é",
    ):
        assert status_of(facts(authorization=wrong)) == 401, wrong
        assert status_of(facts(authorization=wrong, path="/health")) == 200
        assert status_of(facts(authorization=wrong, path="/internal/ws")) == 200
        assert status_of(facts(authorization=wrong, path="/internalx")) == 401
    assert status_of(facts(authorization=f"bearer {TOKEN}")) == 200


def test_the_subprotocol_carries_the_token_for_sockets_only() -> None:
    """A plain request with that header is still without a token."""
    header = f"bbhost.v1, bbhost.bearer.{TOKEN}"
    asked = facts(websocket=True, authorization="", sec_websocket_protocol=header)
    assert status_of(asked) == 200
    assert status_of(facts(authorization="", sec_websocket_protocol=header)) == 401


def test_without_a_token_sockets_need_an_origin() -> None:
    """Daemons have keys of their own."""
    assert status_of(facts(websocket=True, authorization=""), token=None) == 403
    own = facts(websocket=True, authorization="", origin="http://localhost:1234")
    assert status_of(own, token=None) == 200
    assert status_of(facts(websocket=True, path="/internal/ws"), token=None) == 200
    assert status_of(facts(authorization=""), token=None) == 200


def test_doubled_headers_are_refused() -> None:
    """Nobody says which of two counts."""
    doubled = RequestFacts(
        is_websocket=False, method="GET", path="/health", headers={"host": ("127.0.0.1:1234",) * 2}
    )
    assert status_of(doubled) == 400


def test_paths_of_workspaces() -> None:
    """Below the data directory, named as the contract says."""
    request = RequestedWorkspace("managed-worktree", source_path="/srv/repos/demo.git/")
    spec = plan_workspace(request, environment_id="env_1", data_dir="/data")
    assert spec.target_path == "/data/worktrees/env_1/demo"  # type: ignore[union-attr]
    personal = plan_workspace(
        RequestedWorkspace("personal"), environment_id="env_1", data_dir="/data"
    )
    assert personal.target_path == "/data/personal-workspaces/env_1"  # type: ignore[union-attr]


@pytest.mark.parametrize("source", ["/", "/srv/..", "/srv/.git", "/srv/-x", "/srv/a b", "/srv/é"])
def test_repositories_that_cannot_name_a_directory(source: str) -> None:
    """Refused before anything is stored."""
    with pytest.raises(ApiError):
        repository_name(source)


def test_checkouts_need_their_own_fields() -> None:
    """A base belongs to a new branch, and only to it."""
    for checkout in (RequestedCheckout("new", "a"), RequestedCheckout("existing", "a", "b")):
        request = RequestedWorkspace("unmanaged", path="/w", checkout=checkout)
        with pytest.raises(ApiError):
            plan_workspace(request, environment_id="e", data_dir="/d")


def test_queries_are_read_by_type() -> None:
    """Numbers and booleans from their text; twice the same name is refused."""
    values = query_values({"query_string": b"path=%2Fa+b&limit=5&files=false"})
    assert read_query(PathsQuery, values) == PathsQuery("/a b", limit=5, files=False)
    for text in (b"path=/a&path=/b", b"path=%ff", b"&&&", b"a=1&" * 200, b"path"):
        with pytest.raises(ApiError):
            query_values({"query_string": text})
    for bad in ({"limit": "-1"}, {"limit": "٣"}, {"limit": "9" * 30}, {"files": "1"}):
        with pytest.raises(ApiError):
            read_query(PathsQuery, {"path": "/a", **bad})


def test_half_characters_are_replaced() -> None:
    """What JavaScript cuts in the middle can still be stored and shown."""
    assert storable("a\ud83d") == "a?"
    assert storable("grün 😀") == "grün 😀"
