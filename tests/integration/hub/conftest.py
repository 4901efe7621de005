"""A real hub on a free port of 127.0.0.1, and a daemon that speaks the contract."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import trio
from attrs import evolve

from bbhost.hub.config import HubConfig, HubTimings
from bbhost.hub.run import HubAddress, run_hub
from tests.fakes.contract_daemon import ContractDaemon, enroll

StartHub = Callable[..., Awaitable[HubAddress]]


@pytest.fixture
async def start_hub(tmp_path: Path, nursery: trio.Nursery) -> StartHub:
    """Start a hub; keyword arguments change its timings."""

    async def start(config: HubConfig | None = None, **timings: object) -> HubAddress:
        chosen = config or HubConfig(tmp_path / "hub", port=0)
        chosen = evolve(chosen, timings=evolve(HubTimings(), **timings))  # type: ignore[arg-type]
        address: HubAddress = await nursery.start(run_hub, chosen)
        return address

    return start


@pytest.fixture
async def hub(start_hub: StartHub) -> HubAddress:
    """A hub with the usual timings."""
    return await start_hub()


@pytest.fixture
async def api(hub: HubAddress) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the public API that has the token."""
    async with api_client(hub) as client:
        yield client


def api_client(hub: HubAddress) -> httpx.AsyncClient:
    """Return a client of the public API that has the token."""
    return httpx.AsyncClient(
        base_url=hub.url + "/api/v1",
        headers={"authorization": f"Bearer {hub.token}"},
        timeout=10,
        verify=False,  # reading the certificates takes longer than most tests
    )


@pytest.fixture
async def daemon(hub: HubAddress) -> AsyncIterator[ContractDaemon]:
    """An enrolled daemon without a session."""
    async with AsyncExitStack() as stack:
        enrolled = await enroll(hub.url, hub.token, "/data")
        await stack.enter_async_context(enrolled.http)
        yield enrolled
