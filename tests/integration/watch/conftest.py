"""A repository, an oracle, and services that run."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio

from bbhost.watch import WatchService, WatchSettings, make_watch_service
from tests.integration.watch.git_oracle import GitOracle, make_repository


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repository")


@pytest.fixture
def oracle() -> GitOracle:
    return GitOracle()


@pytest.fixture
async def start_service(
    nursery: trio.Nursery,
) -> AsyncIterator[Callable[..., object]]:
    """Start services that end with the test."""

    async def start(backend: str = "inotify", **settings: object) -> WatchService:
        service = make_watch_service(backend, WatchSettings(**settings))
        await nursery.start(service.run)
        return service

    yield start
    nursery.cancel_scope.cancel()


@pytest.fixture
async def service(start_service) -> WatchService:
    """The inotify service, with stock settings."""
    return await start_service("inotify")
