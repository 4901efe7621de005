"""A running rig with one provisioned environment."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.integration.threads.rig import Rig, open_rig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """An environment that is ready, and no thread."""
    async with open_rig(tmp_path) as rig:
        with trio.fail_after(20):
            await rig.provision()
        yield rig
