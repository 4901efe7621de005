"""The session against a real hub: the other end is written by the same contract, not by us."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from attrs import define

from bbhost.contract.results import EmptyResult, EnvironmentProvisionResult
from bbhost.contract.session import EnvironmentChange
from bbhost.domain.ids import EnvironmentId
from bbhost.domain.workspace import DiscoveredWorkspace
from bbhost.hub.config import HubConfig
from bbhost.hub.run import HubAddress, run_hub
from bbhost.journal.journal import Journal, open_journal
from bbhost.lifecycle.session import EndCause
from bbhost.session.connection import SessionSettings
from bbhost.session.enrolment import EnrolmentSettings, ensure_enrolled
from bbhost.session.runner import Session, open_session
from bbhost.session.server_url import parse_server_url
from tests.integration.session.rig import FakeDaemon


@define(eq=False)
class HubRig:
    hub: HubAddress
    api: httpx.AsyncClient
    settings: SessionSettings
    path: Path

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        response = await self.api.request(method, path, json=body)
        assert response.status_code < 300, response.text
        return response.json()

    async def wait_state(self, environment_id: str, state: str) -> None:
        while (await self.call("GET", f"/environments/{environment_id}"))["state"] != state:  # noqa: ASYNC110 - over HTTP there is nothing to wait on
            await trio.sleep(0.02)


PERSONAL = {"workspace": {"workspaceProvisionType": "personal"}}


def api_client(hub: HubAddress) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=hub.url + "/api/v1",
        headers={"authorization": f"Bearer {hub.token}"},
        timeout=20,
        verify=False,
    )


async def enrol(hub: HubAddress, api: httpx.AsyncClient, data_dir: Path) -> HubRig:
    joined = (await api.post("/hosts/join", json={})).json()
    url = parse_server_url(hub.url)
    identity = await ensure_enrolled(
        url, EnrolmentSettings(data_dir, "rig", joined["joinCode"], joined["hostId"])
    )
    settings = SessionSettings(
        url, identity, "rig", data_dir, "instance", reconnect_first_seconds=0.05
    )
    return HubRig(hub, api, settings, data_dir / "journal.sqlite3")


@pytest.fixture
async def rig(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[HubRig]:
    hub: HubAddress = await nursery.start(run_hub, HubConfig(tmp_path / "hub", port=0))
    async with api_client(hub) as api:
        yield await enrol(hub, api, tmp_path / "data")


async def run_journal(path: Path, *, task_status: trio.TaskStatus[Journal]) -> None:
    async with open_journal(path) as journal:
        task_status.started(journal)
        await trio.sleep_forever()


async def run_session(
    rig: HubRig,
    journal: Journal,
    daemon: FakeDaemon | None = None,
    *,
    task_status: trio.TaskStatus[Session],
) -> None:
    async with (
        open_session(
            rig.settings, journal, daemon or FakeDaemon(), HANDLERS, poll_seconds=0.2
        ) as session,
        trio.open_nursery() as inner,
    ):
        await inner.start(session.run)
        task_status.started(session)


async def provision(command: Any) -> EnvironmentProvisionResult:
    found = DiscoveredWorkspace(command.spec.target_path, False, False, None, None)
    return EnvironmentProvisionResult(workspace=found, transcript=())


async def destroy(_command: Any) -> EmptyResult:
    return EmptyResult()


HANDLERS = {"environment.provision": provision, "environment.destroy": destroy}


@pytest.mark.slow
async def test_a_life_of_an_environment(rig: HubRig, nursery: trio.Nursery) -> None:
    daemon = FakeDaemon()
    with trio.fail_after(30):
        journal = await nursery.start(run_journal, rig.path)
        session: Session = await nursery.start(run_session, rig, journal, daemon)
        assert daemon.opened[0].live_environment_ids == ()
        environment_id = (await rig.call("POST", "/environments", PERSONAL))["id"]
        await rig.wait_state(environment_id, "ready")
        session.changes.changed(EnvironmentId(environment_id), EnvironmentChange.WORK_STATUS)
        await rig.call("DELETE", f"/environments/{environment_id}")
        await rig.wait_state(environment_id, "destroyed")
        session.changes.changed(EnvironmentId(environment_id), EnvironmentChange.GIT_REFS)
        await daemon.wait_forgotten()
        assert daemon.forgotten == [environment_id]
        assert await session.flush(5)
        assert await journal.outbox(9) == []
        session.close()
        await session.status.wait_value(lambda status: status.session_id is None)


@pytest.mark.slow
async def test_a_second_daemon_replaces_the_first(rig: HubRig, nursery: trio.Nursery) -> None:
    with trio.fail_after(30):
        sessions: list[Session] = []
        for name in ("first", "second"):
            journal = await nursery.start(run_journal, rig.path.with_name(name))
            sessions.append(await nursery.start(run_session, rig, journal))
        first, second = sessions
        assert (await first.wait_dismissed()).cause is EndCause.REPLACED
        assert second.status.value.session_id is not None
        first.close()
        second.close()


@pytest.mark.slow
async def test_a_hub_that_is_started_again_finds_its_daemon(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    config = HubConfig(tmp_path / "hub", port=0)
    with trio.fail_after(30):
        async with trio.open_nursery() as first_life:
            hub: HubAddress = await first_life.start(run_hub, config)
            async with api_client(hub) as api:
                rig = await enrol(hub, api, tmp_path / "data")
            journal = await nursery.start(run_journal, rig.path)
            session: Session = await nursery.start(run_session, rig, journal)
            before = session.status.value.session_id
            first_life.cancel_scope.cancel()
        await session.status.wait_value(lambda status: status.failed_attempts >= 1)
        again = HubConfig(tmp_path / "hub", port=hub.port)
        async with trio.open_nursery() as second_life:
            hub = await second_life.start(run_hub, again)
            status = await session.status.wait_value(lambda one: one.session_id is not None)
            assert status.session_id != before
            async with api_client(hub) as api:
                rig.api = api
                made = await rig.call("POST", "/environments", PERSONAL)
                await rig.wait_state(made["id"], "ready")
            session.close()
            second_life.cancel_scope.cancel()
        nursery.cancel_scope.cancel()
