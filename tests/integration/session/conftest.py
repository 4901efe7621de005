"""A scripted server and a session that is connected to it. Nothing takes a minute."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.fakes.stock_server import StockServer, run_stock_server
from tests.integration.session.rig import Rig, run_rig


@pytest.fixture
async def server() -> AsyncIterator[StockServer]:
    async with run_stock_server(sweep_seconds=0.02) as server:
        with trio.fail_after(60):
            yield server


@pytest.fixture
def journal_path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite3"


@pytest.fixture
async def rig(server: StockServer, journal_path: Path) -> AsyncIterator[Rig]:
    async with run_rig(server, journal_path) as rig:
        yield rig
