"""An open journal in a temporary directory."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bbhost.journal.journal import Journal, open_journal


@pytest.fixture
def journal_path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite3"


@pytest.fixture
async def journal(journal_path: Path) -> AsyncIterator[Journal]:
    async with open_journal(journal_path) as journal:
        yield journal
