"""Daemons and clients that send nonsense get an answer that says so, and end nothing."""

import json
import random
from typing import Any

import httpx
import pytest

from tests.fakes.contract_daemon import ContractDaemon
from tests.integration.hub.test_threads import envelope, get, post, run_first_turn

BODIES: dict[str, dict[str, Any]] = {
    "command-result": {
        "commandId": "hcmd_x", "type": "environment.destroy", "completedAt": 1, "ok": True,
        "result": {},
    },
    "events": {"events": [envelope("thr_x", "thread/started")]},
    "environment-change": {"environmentId": "env_x", "change": "git-refs-changed"},
    "app-data-change": {
        "threadId": "t", "appId": "a", "path": "p", "value": 1, "deleted": False, "version": "v",
    },
    "app-data-resync": {"threadId": "t", "appId": "a"},
    "tool-call": {
        "threadId": "t", "providerThreadId": "p", "turnId": "u", "callId": "c", "tool": "x",
    },
    "interactive-request/interrupt": {"providerId": "p", "threadIds": ["t"], "reason": "r"},
}  # fmt: skip
NONSENSE: tuple[Any, ...] = (
    None, True, 0, -1, 1e300, "", "x", "\ud800", [], [1], {}, {"a": {}}, "\0", "é" * 300,
)  # fmt: skip


def spoil(value: Any, rng: random.Random) -> Any:
    """Return ``value`` with one part of it replaced."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(sorted(value))
        return {**value, key: spoil(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        return [spoil(value[0], rng), *value[1:]]
    return rng.choice(NONSENSE)


@pytest.mark.slow
async def test_spoiled_bodies_are_answered(daemon: ContractDaemon) -> None:
    """Never 500, never a dropped connection; the session goes on."""
    rng = random.Random(7)
    async with daemon.connected():
        for _ in range(25):
            for path, body in BODIES.items():
                spoiled = spoil({"sessionId": daemon.session_id, **body}, rng)
                response = await daemon.http.post(
                    f"/session/{path}",
                    content=json.dumps(spoiled),
                    headers={"content-type": "application/json"},
                )
                assert response.status_code in {200, 400, 401, 403, 404, 409}, (
                    path, spoiled, response.text,
                )  # fmt: skip
                assert response.status_code == 200 or response.json()["message"]
        assert await daemon.fetch() == []


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[" * 100_000, b"\xff", b"NaN", b'{"a":1e999}', b"null", b'"x"']
)
async def test_what_is_not_a_json_object_is_400(api: httpx.AsyncClient, text: bytes) -> None:
    """On public and internal routes alike."""
    headers = {"content-type": "application/json"}
    response = await api.post("/hosts/join", content=text, headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")


@pytest.mark.slow
async def test_half_characters_in_names_do_not_stop_a_batch(
    api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """The event is kept as it came; the title shows a replacement."""
    async with daemon.connected():
        thread = await run_first_turn(api, daemon)
        named = envelope(
            thread["id"], "thread/name/updated", providerThreadId="p1", threadName="cut \ud83d"
        )
        assert (await post(daemon, named)).status_code == 200
        assert (await get(api, thread["id"]))["title"] == "cut ?"
