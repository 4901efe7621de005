"""The OpenAPI document is true: every operation exists and answers as it says."""

import json
import re
from typing import Any

import httpx
import pytest
import trio
from jsonschema import Draft202012Validator

from bbhost.hub.run import HubAddress
from tests.fakes.contract_daemon import ContractDaemon, RefusedError, open_socket

CHECKOUT = {
    "branches": ["main"],
    "branchesTruncated": False,
    "checkout": {"kind": "branch", "branchName": "main", "headSha": None},
    "defaultBranch": "main",
    "hasUncommittedChanges": False,
    "operation": {"kind": "none"},
    "remoteBranches": [],
    "remoteBranchesTruncated": False,
    "selectedBranch": None,
}
STATUS = {
    "workingTree": {
        "hasUncommittedChanges": True,
        "state": "untracked",
        "insertions": 0,
        "deletions": 0,
        "files": [{"path": "a", "status": "??", "insertions": None, "deletions": None}],
    },
    "branch": {"currentBranch": None, "defaultBranch": "main"},
    "mergeBase": None,
}
DIFF = {"diff": "", "truncated": False, "shortstat": "", "files": "", "mergeBaseRef": None}
RESULTS: dict[str, Any] = {
    "environment.provision": {
        "path": "/w", "isGitRepo": False, "isWorktree": False, "branchName": None,
        "defaultBranch": None, "transcript": [],
    },
    "environment.destroy": {},
    "workspace.status": {"workspaceStatus": STATUS},
    "workspace.diff": {"diff": DIFF},
    "workspace.commit": {"commitSha": "abc", "commitSubject": "s"},
    "workspace.squash_merge": {"merged": True, "commitSha": "abc", "commitSubject": "s"},
    "host.list_files": {"files": [{"path": "a/b", "name": "b"}], "truncated": False},
    "host.list_paths": {
        "paths": [{"kind": "file", "path": "a", "name": "a", "score": 0, "positions": []}],
        "truncated": False,
    },
    "host.read_file": {
        "path": "/a", "content": "x", "contentEncoding": "utf8", "sizeBytes": 1,
        "modifiedAtMs": 1.5,
    },
    "host.file_metadata": {"path": "/a", "modifiedAtMs": 1, "sizeBytes": 1},
    "host.list_branches": CHECKOUT,
    "provider.list": {"providers": []},
    "provider.list_models": {"models": [], "selectedOnlyModels": []},
    "thread.start": {"providerThreadId": "p1"},
    "turn.submit": {"appliedAs": "new-turn"},
}  # fmt: skip


class Checker:
    """Sends documented requests and holds the answers against the document."""

    def __init__(self, api: httpx.AsyncClient, document: dict[str, Any]) -> None:
        self._api = api
        self._document = document
        self.succeeded: set[str] = set()

    async def __call__(
        self, method: str, path: str, *, status: int | None = None, **arguments: Any
    ) -> Any:
        """Send a request and return the JSON of its answer."""
        response = await self._api.request(method, path, **arguments)
        template, operation = self._operation(method, "/api/v1" + path)
        documented = operation["responses"].get(str(response.status_code))
        assert documented is not None, (method, template, response.status_code, response.text)
        assert status is None or response.status_code == status, response.text
        content = documented.get("content", {})
        media = response.headers["content-type"]
        assert media in content, (template, media)
        if response.is_success:
            self.succeeded.add(operation["operationId"])
        if "schema" not in content[media]:
            return response.content
        schema = {**content[media]["schema"], "components": self._document["components"]}
        problems = [
            error.message for error in Draft202012Validator(schema).iter_errors(response.json())
        ]
        assert problems == [], (template, problems, response.text)
        return response.json()

    def _operation(self, method: str, path: str) -> tuple[str, dict[str, Any]]:
        for template, methods in self._document["paths"].items():
            pattern = re.sub(r"\{\w+\}", "[^/]+", template)
            operation = methods.get(method.lower(), {"x-websocket": True})
            if re.fullmatch(pattern, path) and "x-websocket" not in operation:
                return template, operation
        raise AssertionError(f"{method} {path} is not documented")


async def answer_commands(daemon: ContractDaemon) -> None:
    """Answer every command with the result it is due."""
    while True:
        for envelope in await daemon.fetch(wait_ms=5000):
            response = await daemon.succeed(envelope, RESULTS.get(envelope["command"]["type"], {}))
            assert response.status_code == 200, response.text


@pytest.mark.slow
async def test_every_documented_operation_answers_as_documented(
    api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """One call of each, and a failing call of many; all answers match their schemas."""
    document = (await api.get("/openapi.json")).json()
    check = Checker(api, document)
    async with daemon.connected() as socket, trio.open_nursery() as nursery:
        nursery.start_soon(answer_commands, daemon)
        with trio.fail_after(30):
            await _hosts(check, daemon)
            environment = await _environments(check, daemon)
            await _threads(check, daemon, environment["id"])
            await _terminals(check, socket, environment["id"])
            await check("DELETE", f"/environments/{environment['id']}", status=202)
            await check("GET", "/openapi.json")
        nursery.cancel_scope.cancel()
    expected = {
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
        if "x-websocket" not in operation
    }
    assert expected - check.succeeded == {"getHealth"}


async def _wait_state(check: Checker, path: str, state: str) -> None:
    while (await check("GET", path))["state"] != state:  # noqa: ASYNC110 - as a client would
        await trio.sleep(0.01)


async def _hosts(check: Checker, daemon: ContractDaemon) -> None:
    joined = await check("POST", "/hosts/join", json={"hostId": "host_new"}, status=201)
    await check("POST", "/hosts/join", json={"hostId": ""}, status=400)
    await check("DELETE", f"/hosts/{joined['hostId']}/join", status=200)
    await check("DELETE", f"/hosts/{joined['hostId']}/join", status=404)
    await check("GET", "/hosts")
    host = f"/hosts/{daemon.host_id}"
    await check("GET", host)
    await check("GET", "/hosts/host_x", status=404)
    await check("GET", f"{host}/files", params={"path": "/a", "limit": 5})
    await check("GET", f"{host}/files", params={"path": "/a", "limit": 0}, status=400)
    await check("GET", f"{host}/files", status=400)
    await check("GET", f"{host}/paths", params={"path": "/a", "files": "false"})
    await check("GET", f"{host}/paths", params={"path": "/a", "files": "no"}, status=400)
    await check("GET", f"{host}/file", params={"path": "/a"})
    await check("GET", f"{host}/file", params={"path": "/a", "ref": "HEAD"}, status=400)
    await check("GET", f"{host}/file-metadata", params={"path": "/a"})
    await check("GET", f"{host}/branches", params={"path": "/a"})
    await check("GET", f"{host}/providers")
    await check("GET", f"{host}/providers/codex/models")


async def _environments(check: Checker, daemon: ContractDaemon) -> Any:
    workspace = {"workspaceProvisionType": "unmanaged", "path": "/w"}
    environment = await check("POST", "/environments", json={"workspace": workspace}, status=202)
    await check("POST", "/environments", json={"workspace": {}}, status=400)
    path = f"/environments/{environment['id']}"
    await _wait_state(check, path, "ready")
    await check("GET", "/environments", params={"hostId": daemon.host_id})
    await check("GET", "/environments/env_x", status=404)
    await check("GET", f"{path}/transcript")
    await check("GET", f"{path}/status", params={"mergeBase": "main"})
    await check("GET", f"{path}/status", params={"mergeBase": "-bad"}, status=400)
    await check("GET", f"{path}/diff", params={"target": "all", "mergeBase": "main"})
    await check("GET", f"{path}/diff", params={"target": "all"}, status=400)
    await check("POST", f"{path}/commit", json={"message": "m"})
    body = {"targetBranch": "main", "commitMessage": "m"}
    await check("POST", f"{path}/squash-merge", json=body)
    await check("POST", f"{path}/squash-merge", json={}, status=400)
    checkout = {"kind": "existing", "name": "main"}
    await check("POST", f"{path}/provision", json={"checkout": checkout}, status=202)
    await _wait_state(check, path, "ready")
    return environment


async def _threads(check: Checker, daemon: ContractDaemon, environment_id: str) -> None:
    body = {"environmentId": environment_id, "providerId": "codex", "prompt": "hello"}
    thread = await check("POST", "/threads", json=body, status=201)
    await check("POST", "/threads", json={**body, "input": []}, status=400)
    path = f"/threads/{thread['id']}"
    await _wait_state(check, path, "active")
    for kind in ("turn/started", "turn/completed"):
        event = {"type": kind, "threadId": thread["id"], "providerThreadId": "p1"}
        event["scope"] = {"kind": "turn", "turnId": "t1"}
        if kind == "turn/completed":
            event["status"] = "completed"
        else:
            await _ask_and_answer(check, daemon, await _post_event(daemon, thread["id"], event))
            continue
        await _post_event(daemon, thread["id"], event)
    await check("GET", "/threads", params={"environmentId": environment_id})
    await check("GET", f"{path}/events", params={"after": 0, "limit": 1})
    await check("GET", f"{path}/app-data")
    await check("POST", f"{path}/turns", json={"prompt": "more"})
    await check("PATCH", path, json={"title": "new"})
    await check("POST", f"{path}/stop", json={}, status=202)
    await check("POST", f"{path}/archive", json={})
    await check("POST", f"{path}/turns", json={"prompt": "more"}, status=409)
    await check("POST", f"{path}/unarchive", json={})
    await check("DELETE", path)
    await check("GET", path, status=404)
    upload = "/projects/p/attachments"
    headers = {"content-type": "application/octet-stream"}
    stored = await check(
        "POST", upload, params={"name": "a.txt"}, content=b"abc", headers=headers, status=201
    )
    assert await check("GET", f"{upload}/{stored['id']}") == b"abc"
    await check("GET", f"{upload}/att_x", status=404)


async def _post_event(daemon: ContractDaemon, thread_id: str, event: dict[str, Any]) -> str:
    number = {"turn/started": "2", "turn/completed": "3"}[event["type"]]
    envelope = {"producerEventId": "hdevt_" + number * 20, "threadId": thread_id, "event": event}
    response = await daemon.post_in_session("events", {"events": [envelope]})
    assert response.status_code == 200, response.text
    return thread_id


async def _ask_and_answer(check: Checker, daemon: ContractDaemon, thread_id: str) -> None:
    interaction = {
        "threadId": thread_id,
        "turnId": "t1",
        "providerId": "codex",
        "providerThreadId": "p1",
        "providerRequestId": "r1",
        "payload": {
            "kind": "user_question",
            "questions": [{"id": "q", "prompt": "?", "multiSelect": False, "allowFreeText": True}],
        },
    }
    asked = await daemon.post_in_session("interactive-request", {"interaction": interaction})
    await check("GET", "/interactions", params={"open": "true", "threadId": thread_id})
    path = f"/interactions/{asked.json()['interactionId']}/resolve"
    await check("POST", path, json={"resolution": {"decision": "maybe"}}, status=400)
    answer = {"kind": "user_answer", "answers": {"q": {"selected": [], "freeText": "yes"}}}
    await check("POST", path, json={"resolution": answer}, status=202)


async def _terminals(check: Checker, socket: Any, environment_id: str) -> None:
    async with trio.open_nursery() as nursery:

        async def answer() -> None:
            while (message := await socket.receive())["type"] != "terminal.open":
                pass
            await socket.send(
                {
                    "type": "terminal.opened",
                    "requestId": message["requestId"],
                    "terminalId": message["terminalId"],
                    "shell": "/bin/sh",
                    "title": "sh",
                    "initialCwd": "/w",
                    "currentCwd": None,
                    "cols": message["cols"],
                    "rows": message["rows"],
                }
            )

        nursery.start_soon(answer)
        path = f"/environments/{environment_id}/terminals"
        terminal = await check("POST", path, json={"cols": 100}, status=201)
    await check("POST", path, json={"cols": 0}, status=400)
    await check("GET", path)
    await check("GET", "/terminals")
    await check("GET", f"/terminals/{terminal['id']}")
    await check("DELETE", f"/terminals/{terminal['id']}", status=202)


async def test_every_documented_socket_exists(hub: HubAddress, api: httpx.AsyncClient) -> None:
    """With the token each is there; where it names something unknown it says 404."""
    document = (await api.get("/openapi.json")).json()
    token = [("Authorization", f"Bearer {hub.token}")]
    found: dict[str, object] = {}
    for path, methods in document["paths"].items():
        if "x-websocket" in methods.get("get", {}):
            resource = re.sub(r"\{\w+\}", "nothing", path)
            try:
                async with open_socket(hub.url, resource, (), token):
                    found[path] = 101
            except RefusedError as refused:
                code = json.loads(refused.body)["code"]
                found[path] = (refused.status, code)
    assert found == {
        "/api/v1/ws": 101,
        "/api/v1/terminals/{terminalId}/attach": (404, "terminal_not_found"),
        "/api/v1/threads/{threadId}/stream": (404, "thread_not_found"),
    }
