"""Environments through the hub: made, asked, destroyed, lost, retried."""

from typing import Any

import httpx
import pytest
import trio

from bbhost.hub.run import HubAddress
from tests.fakes.contract_daemon import ContractDaemon, enroll
from tests.integration.hub.conftest import api_client

WORKTREE = {"workspaceProvisionType": "managed-worktree", "sourcePath": "/repos/demo.git"}


def provisioned(path: str) -> dict[str, Any]:
    """Return the result of a provision command."""
    return {
        "path": path,
        "isGitRepo": True,
        "isWorktree": True,
        "branchName": "b",
        "defaultBranch": "main",
        "transcript": [{"type": "step", "key": "workspace-branch", "text": "Using branch: b"}],
    }


async def create(api: httpx.AsyncClient, workspace: dict[str, Any] = WORKTREE) -> dict[str, Any]:
    """Create an environment."""
    response = await api.post("/environments", json={"workspace": workspace})
    assert response.status_code == 202, response.text
    return dict(response.json())


async def make_ready(api: httpx.AsyncClient, daemon: ContractDaemon) -> dict[str, Any]:
    """Create an environment and let the daemon provision it."""
    environment = await create(api)
    command = await daemon.next_command("environment.provision")
    assert (await daemon.succeed(command, provisioned(environment["workspacePath"]))).json() == {
        "ok": True
    }
    return dict((await api.get(f"/environments/{environment['id']}")).json())


async def wait_state(api: httpx.AsyncClient, environment_id: str, state: str) -> dict[str, Any]:
    """Poll until the environment is in a state."""
    with trio.fail_after(5):
        while True:
            found = (await api.get(f"/environments/{environment_id}")).json()
            if found["state"] == state:
                return dict(found)
            await trio.sleep(0.02)


async def test_create_provisions_at_the_path_of_the_host(
    api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """The worktree goes below the data directory that the daemon named."""
    async with daemon.connected() as socket:
        environment = await create(api)
        assert environment["state"] == "provisioning"
        assert environment["workspacePath"] == f"/data/worktrees/{environment['id']}/demo"
        assert (await socket.receive()) == {"type": "commands-available"}
        command = (await daemon.next_command())["command"]
        assert command["type"] == "environment.provision"
        assert command["workspaceProvisionType"] == "managed-worktree"
        assert command["targetPath"] == environment["workspacePath"]
        assert command["branchName"] == f"bbhost/{environment['id']}"
        assert command["baseBranch"] is None


async def test_a_provisioned_environment_is_ready_with_its_transcript(
    api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """The daemon's result makes it ready; what it said is kept."""
    async with daemon.connected():
        environment = await make_ready(api, daemon)
        assert environment["state"] == "ready"
        assert environment["branchName"] == "b"
        transcript = (await api.get(f"/environments/{environment['id']}/transcript")).json()
        assert [entry["key"] for entry in transcript["entries"]] == ["workspace-branch"]


@pytest.mark.slow
async def test_a_failed_provision_is_an_error_and_can_be_provisioned_again(
    api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """The daemon's code and sentence are shown; a second attempt clears them."""
    async with daemon.connected():
        environment = await create(api)
        command = await daemon.next_command()
        await daemon.fail(command, "setup_script_failed", "exit 1")
        shown = (await api.get(f"/environments/{environment['id']}")).json()
        assert shown["state"] == "error"
        assert shown["error"] == {"code": "setup_script_failed", "message": "exit 1"}
        again = await api.post(f"/environments/{environment['id']}/provision", json={})
        assert again.status_code == 202
        assert again.json()["state"] == "provisioning"
        assert again.json()["error"] is None


@pytest.mark.slow
async def test_status_and_diff_come_from_the_daemon(
    api: httpx.AsyncClient, daemon: ContractDaemon, nursery: trio.Nursery
) -> None:
    """A public request waits for the daemon's result and passes it on."""
    async with daemon.connected():
        environment = await make_ready(api, daemon)
        status = {
            "workingTree": {
                "hasUncommittedChanges": False,
                "state": "clean",
                "insertions": 0,
                "deletions": 0,
                "files": [],
            },
            "branch": {"currentBranch": "b", "defaultBranch": "main"},
            "mergeBase": None,
        }

        async def answer() -> None:
            command = await daemon.next_command("workspace.status")
            assert command["command"]["mergeBaseBranch"] == "main"
            await daemon.succeed(command, {"workspaceStatus": status})
            command = await daemon.next_command("workspace.diff")
            assert command["command"]["target"] == {"type": "commit", "sha": "abcd"}
            await daemon.fail(command, "not_git_repo", "no repository here")

        nursery.start_soon(answer)
        path = f"/environments/{environment['id']}"
        response = await api.get(f"{path}/status", params={"mergeBase": "main"})
        assert response.json() == {"workspaceStatus": status}
        response = await api.get(f"{path}/diff", params={"target": "commit", "sha": "abcd"})
        assert response.status_code == 502
        assert response.json() == {"code": "not_git_repo", "message": "no repository here"}


@pytest.mark.slow
async def test_a_request_without_a_daemon_is_503(
    api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """It says at once that the daemon is not connected."""
    async with daemon.connected():
        environment = await make_ready(api, daemon)
    with trio.fail_after(5):
        while True:
            response = await api.get(f"/environments/{environment['id']}/status")
            if response.status_code == 503:
                break
    assert response.json()["code"] == "host_disconnected"


@pytest.mark.slow
async def test_a_destroy_while_the_host_is_away_is_delivered_later(
    api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """Commands survive the daemon's absence; a repeated destroy adds none."""
    async with daemon.connected():
        environment = await make_ready(api, daemon)
    for _ in range(2):
        response = await api.delete(f"/environments/{environment['id']}")
        assert (response.status_code, response.json()["state"]) == (202, "destroying")
    async with daemon.connected():
        assert daemon.opened["liveEnvironmentIds"] == [environment["id"]]
        commands = await daemon.fetch()
        assert [one["command"]["type"] for one in commands] == ["environment.destroy"]
        await daemon.succeed(commands[0], {})
    shown = (await api.get(f"/environments/{environment['id']}")).json()
    assert shown["state"] == "destroyed"
    assert (await api.get("/environments")).json()["environments"] == []
    listed = await api.get("/environments", params={"includeDestroyed": "true"})
    assert [one["id"] for one in listed.json()["environments"]] == [environment["id"]]


@pytest.mark.slow
async def test_session_open_lists_live_and_retires_what_is_not(
    api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """Live are the host's environments that are not destroyed; loaded others are retired."""
    async with daemon.connected():
        alive = await make_ready(api, daemon)
        gone = await make_ready(api, daemon)
        await api.delete(f"/environments/{gone['id']}")
        await daemon.succeed(await daemon.next_command("environment.destroy"), {})
    loaded = [{"environmentId": one} for one in (alive["id"], gone["id"], "env_unknown")]
    opened = await daemon.open(loadedEnvironments=loaded)
    assert opened["liveEnvironmentIds"] == [alive["id"]]
    assert opened["retiredEnvironmentIds"] == [gone["id"], "env_unknown"]
    assert opened["trackedThreadTargets"] == []


@pytest.mark.slow
async def test_a_failed_destroy_is_ready_again_and_retried(start_hub: Any) -> None:
    """The server puts it back to ready, says why, and tries again by itself."""
    hub: HubAddress = await start_hub(sweep_seconds=0.05, destroy_retry_seconds=0.1)
    daemon = await enroll(hub.url, hub.token, "/data")
    async with daemon.http, api_client(hub) as api, daemon.connected():
        environment = await make_ready(api, daemon)
        await api.delete(f"/environments/{environment['id']}")
        first = await daemon.next_command("environment.destroy")
        await daemon.fail(first, "EBUSY", "still in use")
        shown = (await api.get(f"/environments/{environment['id']}")).json()
        assert shown["state"] in {"ready", "destroying"}
        assert shown["error"] == {"code": "EBUSY", "message": "still in use"}
        again = await daemon.next_command("environment.destroy")
        assert again["id"] != first["id"]
        await daemon.succeed(again, {})
        await wait_state(api, environment["id"], "destroyed")


@pytest.mark.slow
async def test_a_lost_destroy_is_handed_out_again_then_given_up_then_retried(
    start_hub: Any,
) -> None:
    """Unanswered: once more under the same id, then ``command_expired`` and a new attempt."""
    hub: HubAddress = await start_hub(
        sweep_seconds=0.05, redelivery_seconds=0.2, destroy_retry_seconds=0.1
    )
    daemon = await enroll(hub.url, hub.token, "/data")
    async with daemon.http, api_client(hub) as api, daemon.connected() as socket:
        environment = await make_ready(api, daemon)
        await api.delete(f"/environments/{environment['id']}")
        first = await daemon.next_command("environment.destroy")
        for _ in range(2):
            assert await socket.receive() == {"type": "commands-available"}
        second = await _poll(daemon)
        assert second == first
        shown = await wait_state(api, environment["id"], "ready")
        assert shown["error"]["code"] == "command_expired"
        late = await daemon.succeed(second, {})
        assert late.json() == {"ok": True}
        third = await _poll(daemon)
        assert third["id"] != first["id"]
        await daemon.succeed(third, {})
        await wait_state(api, environment["id"], "destroyed")


async def _poll(daemon: ContractDaemon) -> dict[str, Any]:
    with trio.fail_after(5):
        while True:
            found = await daemon.fetch()
            if found:
                return found[0]
            await trio.sleep(0.02)


@pytest.mark.slow
async def test_an_unanswered_request_is_504_and_its_command_withdrawn(start_hub: Any) -> None:
    """The caller gets 504; a command that was never handed out is not left in the queue."""
    hub: HubAddress = await start_hub(request_seconds=0.1)
    daemon = await enroll(hub.url, hub.token, "/data")
    async with daemon.http, api_client(hub) as api, daemon.connected():
        environment = await make_ready(api, daemon)
        response = await api.get(f"/environments/{environment['id']}/status")
        assert (response.status_code, response.json()["code"]) == (504, "command_timeout")
        assert await daemon.fetch() == []


@pytest.mark.slow
async def test_requests_that_make_no_sense_are_400(
    api: httpx.AsyncClient, daemon: ContractDaemon
) -> None:
    """Fields of another kind, relative paths and unknown keys are named and refused."""
    await daemon.open()
    for workspace in (
        {"workspaceProvisionType": "managed-worktree"},
        {"workspaceProvisionType": "managed-worktree", "sourcePath": "relative"},
        {"workspaceProvisionType": "managed-worktree", "sourcePath": "/a", "path": "/b"},
        {"workspaceProvisionType": "managed-worktree", "sourcePath": "/"},
        {"workspaceProvisionType": "personal", "path": "/b"},
        {"workspaceProvisionType": "unmanaged", "path": "/b", "extra": 1},
        {
            "workspaceProvisionType": "unmanaged",
            "path": "/b",
            "checkout": {"kind": "new", "name": "x"},
        },
        {"workspaceProvisionType": "other"},
    ):
        response = await api.post("/environments", json={"workspace": workspace})
        assert response.status_code == 400, workspace
        assert response.json()["code"] == "invalid_request"
    assert await daemon.fetch() == []


async def test_a_name_is_given_once(api: httpx.AsyncClient, daemon: ContractDaemon) -> None:
    """To those that live; with two of it neither could be named."""
    async with daemon.connected():
        named = {"workspace": WORKTREE, "name": "fix"}
        assert (await api.post("/environments", json=named)).status_code == 202
        taken = await api.post("/environments", json=named)
        assert taken.status_code == 409
        assert taken.json()["code"] == "name_taken"


async def test_without_a_host_that_is_said(api: httpx.AsyncClient) -> None:
    refused = await api.post("/environments", json={"workspace": WORKTREE})
    assert refused.status_code == 400
    assert "No host has joined" in refused.json()["message"]
