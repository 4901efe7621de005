"""Threads through the hub: turns, events, questions, tools, data, and a daemon that comes back."""

from typing import Any

import httpx
import pytest
import trio

from bbhost.contract.ids import new_producer_event_id
from bbhost.hub.run import HubAddress
from tests.fakes.contract_daemon import ContractDaemon, enroll, open_socket
from tests.integration.hub.conftest import api_client
from tests.integration.hub.test_environments import create, make_ready, provisioned
from tests.integration.hub.test_notifications import token_of


def envelope(thread_id: str, kind: str, turn: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return an event ready to be posted."""
    scope = {"kind": "turn", "turnId": turn} if turn else {"kind": "thread"}
    event = {"type": kind, "threadId": thread_id, "scope": scope, **fields}
    return {"producerEventId": new_producer_event_id(), "threadId": thread_id, "event": event}


def started(thread_id: str, turn: str) -> dict[str, Any]:
    """Return the beginning of a turn."""
    return envelope(thread_id, "turn/started", turn, providerThreadId="p1")


def completed(thread_id: str, turn: str, status: str = "completed") -> dict[str, Any]:
    """Return the end of a turn."""
    return envelope(thread_id, "turn/completed", turn, providerThreadId="p1", status=status)


async def post(daemon: ContractDaemon, *events: dict[str, Any]) -> httpx.Response:
    """Post a batch."""
    return await daemon.post_in_session("events", {"events": list(events)})


async def start(api: httpx.AsyncClient, environment_id: str, **fields: Any) -> dict[str, Any]:
    """Start a thread."""
    body = {"environmentId": environment_id, "providerId": "codex", "prompt": "hello", **fields}
    response = await api.post("/threads", json=body)
    assert response.status_code == 201, response.text
    return dict(response.json())


async def run_first_turn(
    api: httpx.AsyncClient, daemon: ContractDaemon, *, finish: bool = True
) -> dict[str, Any]:
    """Start a thread in a new environment and let its first turn run."""
    environment = await make_ready(api, daemon)
    thread = await start(api, environment["id"])
    command = await daemon.next_command("thread.start")
    await post(daemon, started(thread["id"], "t1"))
    await daemon.succeed(command, {"providerThreadId": "p1"})
    if finish:
        await post(daemon, completed(thread["id"], "t1"))
    return await get(api, thread["id"])


async def get(api: httpx.AsyncClient, thread_id: str) -> dict[str, Any]:
    """Show a thread."""
    return dict((await api.get(f"/threads/{thread_id}")).json())


# --- turns ----------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_thread_starts_turns_and_rests(
    api: httpx.AsyncClient, daemon: ContractDaemon, nursery: trio.Nursery
) -> None:
    """thread.start carries everything; events move the state; a later turn resumes and steers."""
    async with daemon.connected():
        environment = await make_ready(api, daemon)
        thread = await start(api, environment["id"], title="A title")
        assert thread["state"] == "starting"
        command = await daemon.next_command("thread.start")
        body = command["command"]
        assert body["input"] == [{"type": "text", "text": "hello"}]
        assert body["threadStoragePath"] == f"/data/thread-storage/{thread['id']}"
        assert body["options"]["permissionEscalation"] == "ask"
        assert body["dynamicTools"][0]["name"] == "message_user"
        await daemon.succeed(command, {"providerThreadId": "p1"})
        assert (await get(api, thread["id"]))["state"] == "active"
        await post(daemon, started(thread["id"], "t1"))
        assert (await get(api, thread["id"]))["activeTurnId"] == "t1"

        async def take() -> None:
            submit = await daemon.next_command("turn.submit")
            assert submit["command"]["target"] == {"mode": "auto", "expectedTurnId": "t1"}
            assert submit["command"]["resumeContext"]["providerThreadId"] == "p1"
            assert submit["command"]["options"]["permissionEscalation"] is None
            await daemon.succeed(submit, {"appliedAs": "steer"})

        nursery.start_soon(take)
        response = await api.post(
            f"/threads/{thread['id']}/turns",
            json={"prompt": "more", "execution": {"permissionMode": "full"}},
        )
        assert response.json()["appliedAs"] == "steer"
        await post(daemon, completed(thread["id"], "t1"))
        shown = await get(api, thread["id"])
        assert (shown["state"], shown["activeTurnId"], shown["title"]) == ("idle", None, "A title")
        assert daemon.opened["trackedThreadTargets"] == []
        reopened = await daemon.open()
        assert reopened["trackedThreadTargets"] == [
            {"environmentId": environment["id"], "threadId": thread["id"]}
        ]


async def test_a_thread_waits_for_its_environment(
    api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """Its start is queued when the environment is ready, or fails with it."""
    async with daemon.connected():
        for outcome in ("ready", "error"):
            environment = await create(api)
            thread = await start(api, environment["id"])
            provision = await daemon.next_command("environment.provision")
            assert await daemon.fetch() == []
            if outcome == "ready":
                await daemon.succeed(provision, provisioned(environment["workspacePath"]))
                command = await daemon.next_command("thread.start")
                assert command["command"]["threadId"] == thread["id"]
            else:
                await daemon.fail(provision, "path_exists", "in the way")
                shown = await get(api, thread["id"])
                assert (shown["state"], shown["error"]["code"]) == ("error", "path_exists")


@pytest.mark.slow
async def test_requests_in_the_wrong_state_are_409(
    api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """A thread that starts takes no turn; a destroyed environment takes no thread."""
    async with daemon.connected():
        environment = await make_ready(api, daemon)
        thread = await start(api, environment["id"])
        await daemon.next_command("thread.start")
        turns = await api.post(f"/threads/{thread['id']}/turns", json={"prompt": "x"})
        assert (turns.status_code, turns.json()["code"]) == (409, "thread_not_ready")
        await api.delete(f"/environments/{environment['id']}")
        body = {"environmentId": environment["id"], "providerId": "codex", "prompt": "x"}
        refused = await api.post("/threads", json=body)
        assert (refused.status_code, refused.json()["code"]) == (409, "environment_not_ready")
        await daemon.succeed(await daemon.next_command("environment.destroy"), {})
        shown = await get(api, thread["id"])
        assert (shown["state"], shown["error"]["code"]) == ("error", "environment_destroyed")


@pytest.mark.slow
async def test_stop_rename_archive_and_delete(
    api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """Each reaches the daemon; a stop that finds nothing still ends the turn."""
    async with daemon.connected():
        thread = await run_first_turn(api, daemon, finish=False)
        path = f"/threads/{thread['id']}"
        assert (await api.post(f"{path}/archive", json={})).status_code == 409
        assert (await api.post(f"{path}/stop", json={})).json()["state"] == "stopping"
        stop = await daemon.next_command("thread.stop")
        await daemon.fail(stop, "unknown_environment")
        assert (await get(api, thread["id"]))["state"] == "idle"
        assert (await api.post(f"{path}/stop", json={})).json()["state"] == "idle"
        await api.patch(path, json={"title": "T"})
        assert (await daemon.next_command("thread.rename"))["command"]["title"] == "T"
        assert (await api.post(f"{path}/archive", json={})).json()["archived"] is True
        await daemon.next_command("thread.archive")
        await api.post(f"{path}/unarchive", json={})
        await daemon.next_command("thread.unarchive")
        assert (await api.delete(path)).json() == {"ok": True}
        await daemon.next_command("thread.deleted")
        assert (await api.get(path)).status_code == 404
        rejected = (await post(daemon, started(thread["id"], "t9"))).json()
        assert rejected["rejectedEvents"][0]["reason"] == "thread_not_owned_by_host"


# --- events ---------------------------------------------------------------------------------


@pytest.mark.slow
async def test_events_are_stored_once_and_in_order(
    api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """A repeated event keeps its number; with another payload the whole batch is refused."""
    async with daemon.connected():
        thread = await run_first_turn(api, daemon)
        first = started(thread["id"], "t2")
        second = completed(thread["id"], "t2")
        accepted = (await post(daemon, first, second)).json()["acceptedEvents"]
        assert [one["sequence"] for one in accepted] == [3, 4]
        again = (await post(daemon, first, second)).json()["acceptedEvents"]
        assert again == accepted
        changed = {**first, "event": {**first["event"], "providerThreadId": "p2"}}
        extra = started(thread["id"], "t3")
        refused = await post(daemon, extra, changed)
        assert refused.status_code == 409
        assert refused.json()["code"] == "producer_event_payload_mismatch"
        page = (await api.get(f"/threads/{thread['id']}/events", params={"after": 2})).json()
        assert [one["event"]["type"] for one in page["events"]] == [
            "turn/started",
            "turn/completed",
        ]
        assert page["lastSequence"] == 4


@pytest.mark.slow
async def test_a_batch_is_all_or_nothing(api: httpx.AsyncClient, daemon: ContractDaemon) -> None:
    """An event before its turn is 409, an invalid one 400; foreign threads are rejected alone."""
    async with daemon.connected():
        thread = await run_first_turn(api, daemon)
        before = (await get(api, thread["id"]))["lastSequence"]
        good = started(thread["id"], "t5")
        early = envelope(thread["id"], "thread/compacted", "t6", providerThreadId="p1")
        response = await post(daemon, good, early)
        assert (response.status_code, response.json()["code"]) == (409, "invalid_request")
        invalid = envelope(thread["id"], "thread/compacted", "t5")
        assert (await post(daemon, good, invalid)).status_code == 400
        assert (await get(api, thread["id"]))["lastSequence"] == before
        foreign = started("thr_unknown", "t1")
        mixed = (await post(daemon, foreign, good)).json()
        assert len(mixed["acceptedEvents"]) == len(mixed["rejectedEvents"]) == 1


@pytest.mark.slow
async def test_events_change_their_thread(api: httpx.AsyncClient, daemon: ContractDaemon) -> None:
    """Failed turns, dead providers and names."""
    async with daemon.connected():
        thread = await run_first_turn(api, daemon)
        thread_id = thread["id"]
        await post(
            daemon,
            started(thread_id, "t2"),
            envelope(
                thread_id, "thread/name/updated", providerThreadId="p1", threadName="[bb] Named"
            ),
            completed(thread_id, "t2", "failed"),
        )
        shown = await get(api, thread_id)
        assert (shown["state"], shown["title"]) == ("error", "Named")
        await post(daemon, started(thread_id, "t3"))
        assert (await get(api, thread_id))["error"] is None
        await post(
            daemon,
            envelope(thread_id, "system/error", code="provider_process_exited", message="it died"),
        )
        shown = await get(api, thread_id)
        assert (shown["state"], shown["activeTurnId"]) == ("error", None)


@pytest.mark.slow
async def test_events_are_streamed_old_ones_first(
    hub: HubAddress, api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """From any number on, then as they come; a waiting page returns with the next event."""
    async with daemon.connected():
        thread = await run_first_turn(api, daemon)
        path = f"/api/v1/threads/{thread['id']}"
        async with open_socket(hub.url, f"{path}/stream?after=1", (), token_of(hub)) as stream:
            assert (await stream.receive())["sequence"] == 2
            many = [started(thread["id"], f"turn{number}") for number in range(50)]
            pages: list[dict[str, Any]] = []
            async with trio.open_nursery() as nursery:

                async def wait() -> None:
                    response = await api.get(
                        f"{hub.url}{path}/events", params={"after": 2, "waitMs": 5000}
                    )
                    pages.append(response.json())

                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked(0.05)
                await post(daemon, *many)
            assert pages[0]["events"][0]["sequence"] == 3
            numbers = [(await stream.receive())["sequence"] for _ in many]
            assert numbers == list(range(3, 53))


# --- tools, questions, data -----------------------------------------------------------------


@pytest.mark.slow
async def test_message_user_is_an_event_once(
    api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """A repeated call is the same message; other tools are not supported; the turn must exist."""
    async with daemon.connected():
        thread = await run_first_turn(api, daemon, finish=False)
        call = {
            "threadId": thread["id"], "providerThreadId": "p1", "turnId": "t1", "callId": "c1",
            "tool": "message_user", "arguments": {"text": "Look here"},
        }  # fmt: skip
        for _ in range(2):
            answer = (await daemon.post_in_session("tool-call", call)).json()
            assert answer["success"] is True
        other = (await daemon.post_in_session("tool-call", {**call, "tool": "x"})).json()
        assert other == {
            "success": False,
            "contentItems": [{"type": "inputText", "text": "Unsupported tool: x"}],
        }
        early = await daemon.post_in_session("tool-call", {**call, "turnId": "t7", "callId": "d"})
        assert early.status_code == 409
        page = (await api.get(f"/threads/{thread['id']}/events")).json()
        texts = [one["event"].get("text") for one in page["events"]]
        assert texts == [None, "Look here"]


APPROVAL = {
    "kind": "approval",
    "subject": {
        "kind": "command", "itemId": "i", "command": "rm x", "cwd": None, "actions": [],
        "sessionGrant": None,
    },
    "reason": None,
    "availableDecisions": ["allow_once", "deny"],
}  # fmt: skip


async def ask(
    daemon: ContractDaemon, thread_id: str, turn: str = "t1", request: str = "r1"
) -> httpx.Response:
    """Ask a person, as the daemon."""
    interaction = {
        "threadId": thread_id, "turnId": turn, "providerId": "codex", "providerThreadId": "p1",
        "providerRequestId": request, "payload": APPROVAL,
    }  # fmt: skip
    return await daemon.post_in_session("interactive-request", {"interaction": interaction})


@pytest.mark.slow
async def test_a_question_from_asking_to_answer(
    api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """Registered once, answered once; a lost answer may be given again."""
    async with daemon.connected():
        thread = await run_first_turn(api, daemon, finish=False)
        soon = await ask(daemon, thread["id"], turn="t9")
        assert (soon.status_code, soon.json()["retryable"]) == (503, True)
        first = (await ask(daemon, thread["id"])).json()
        assert (first["outcome"], first["status"]) == ("created", "pending")
        assert (await ask(daemon, thread["id"])).json()["outcome"] == "existing"
        path = f"/interactions/{first['interactionId']}/resolve"
        resolution = {"decision": "allow_once", "grantedPermissions": None}
        for attempt in ("EPIPE", None):
            answered = await api.post(path, json={"resolution": resolution})
            assert answered.json()["status"] == "resolving"
            assert (await api.post(path, json={"resolution": resolution})).status_code == 409
            command = await daemon.next_command("interactive.resolve")
            assert command["command"]["resolution"] == resolution
            if attempt is not None:
                await daemon.fail(command, attempt)
            else:
                await daemon.succeed(command, {})
        listed = (await api.get("/interactions", params={"threadId": thread["id"]})).json()
        assert [one["status"] for one in listed["interactions"]] == ["resolved"]


@pytest.mark.slow
async def test_questions_end_with_turn_provider_or_session(start_hub: Any) -> None:
    """Nobody can answer them any more, and listeners see why."""
    hub: HubAddress = await start_hub(sweep_seconds=0.05, interaction_grace_seconds=0.1)
    daemon = await enroll(hub.url, hub.token, "/data")
    async with daemon.http, api_client(hub) as api:
        async with daemon.connected():
            thread = await run_first_turn(api, daemon, finish=False)
            await ask(daemon, thread["id"], request="by provider")
            ended = await daemon.post_in_session(
                "interactive-request/interrupt",
                {
                    "providerId": "codex",
                    "threadIds": ["thr_unknown", thread["id"]],
                    "reason": "it exited",
                },
            )
            assert len(ended.json()["interactionIds"]) == 1
            await ask(daemon, thread["id"], request="by turn")
            await post(daemon, completed(thread["id"], "t1"), started(thread["id"], "t2"))
            await ask(daemon, thread["id"], turn="t2", request="by session")
        with trio.fail_after(5):
            while True:
                listed = (await api.get("/interactions")).json()["interactions"]
                if all(one["status"] == "interrupted" for one in listed):
                    break
                await trio.sleep(0.02)
        assert [one["reason"] for one in listed] == [
            "it exited",
            "The turn has ended",
            "The daemon that asked is gone",
        ]


@pytest.mark.slow
async def test_a_question_asked_again_outlives_its_first_session(start_hub: Any) -> None:
    """A daemon that has come back and still waits for the answer gets it."""
    hub: HubAddress = await start_hub(sweep_seconds=0.05, interaction_grace_seconds=0.5)
    daemon = await enroll(hub.url, hub.token, "/data")
    async with daemon.http, api_client(hub) as api:
        async with daemon.connected():
            thread = await run_first_turn(api, daemon, finish=False)
            await ask(daemon, thread["id"], request="asked again")
            await ask(daemon, thread["id"], request="forgotten")
        async with daemon.connected(activeThreads=[{"threadId": thread["id"]}]):
            again = (await ask(daemon, thread["id"], request="asked again")).json()
            assert (again["outcome"], again["status"]) == ("existing", "pending")
            with trio.fail_after(30):
                while True:
                    listed = (await api.get("/interactions")).json()["interactions"]
                    if listed[1]["status"] == "interrupted":
                        break
                    await trio.sleep(0.02)
            # The grace of both is over by now.
            assert [one["status"] for one in listed] == ["pending", "interrupted"]


@pytest.mark.slow
async def test_app_data_is_kept_and_unknown_threads_are_404(
    api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """The latest value stands; a deletion is remembered as one."""
    async with daemon.connected():
        thread = await run_first_turn(api, daemon)
        post_body = {
            "threadId": thread["id"], "appId": "app", "path": "state/one.json",
            "value": {"a": 1}, "deleted": False, "version": "f" * 64,
        }  # fmt: skip
        assert (await daemon.post_in_session("app-data-change", post_body)).json() == {"ok": True}
        entries = (await api.get(f"/threads/{thread['id']}/app-data")).json()["entries"]
        assert entries[0]["value"] == {"a": 1}
        gone = {**post_body, "value": None, "deleted": True, "version": None}
        await daemon.post_in_session("app-data-change", gone)
        entries = (await api.get(f"/threads/{thread['id']}/app-data")).json()["entries"]
        assert entries[0]["version"] is None
        strict = await daemon.post_in_session("app-data-change", {**gone, "extra": 1})
        assert strict.status_code == 400
        resync = {"threadId": thread["id"], "appId": "app"}
        assert (await daemon.post_in_session("app-data-resync", resync)).status_code == 200
        missing = await daemon.post_in_session("app-data-resync", {**resync, "threadId": "x"})
        assert (missing.status_code, missing.json()["code"]) == (404, "thread_not_found")


async def test_attachments_reach_the_daemon_of_their_project(
    api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """Bytes and media type as uploaded; another project's are forbidden."""
    async with daemon.connected():
        thread = await run_first_turn(api, daemon)
        uploaded = await api.post(
            "/projects/default/attachments",
            params={"name": "pic.png", "mimeType": "image/png"},
            content=b"\x89PNG",
            headers={"content-type": "application/octet-stream"},
        )
        params = {
            "sessionId": daemon.session_id, "threadId": thread["id"], "projectId": "default",
            "path": uploaded.json()["path"],
        }  # fmt: skip
        url = "/session/project-attachment-content"
        response = await daemon.http.get(url, params=params)
        assert (response.content, response.headers["content-type"]) == (b"\x89PNG", "image/png")
        other = await daemon.http.get(url, params={**params, "projectId": "other"})
        assert (other.status_code, other.json()["code"]) == (403, "forbidden")
        escape = await daemon.http.get(url, params={**params, "path": "../hub.db"})
        assert escape.status_code == 404


# --- a daemon that comes back ---------------------------------------------------------------


@pytest.mark.slow
async def test_threads_are_reconciled_with_the_daemons_list(
    api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """Listed ones run on; those not listed were interrupted, and stay so after a restart."""
    async with daemon.connected():
        listed = await run_first_turn(api, daemon, finish=False)
        lost = await run_first_turn(api, daemon, finish=False)
        stopping = await run_first_turn(api, daemon, finish=False)
        await api.post(f"/threads/{stopping['id']}/stop", json={})
        await daemon.next_command("thread.stop")
    active = [{"threadId": listed["id"]}, {"threadId": stopping["id"]}]
    await daemon.open(activeThreads=active)
    assert (await get(api, listed["id"]))["state"] == "active"
    assert (await get(api, lost["id"]))["state"] == "idle"
    stop = await daemon.next_command("thread.stop")
    assert stop["command"]["threadId"] == stopping["id"]
    page = (await api.get(f"/threads/{lost['id']}/events")).json()
    assert page["events"][-1]["event"]["reason"] == "host-daemon-reconnected"

    daemon.instance_id = "another-process"
    await daemon.open()
    page = (await api.get(f"/threads/{listed['id']}/events")).json()
    assert page["events"][-1]["event"]["reason"] == "host-daemon-restarted"
    assert (await get(api, stopping["id"]))["state"] == "idle"
    await daemon.open(activeThreads=[{"threadId": listed["id"]}, {"threadId": lost["id"]}])
    assert (await get(api, listed["id"]))["state"] == "idle"
    assert (await get(api, lost["id"]))["state"] == "active"
