"""A scripted server, a repository, and a data directory for daemon processes."""

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.stock_server import StockServer, run_stock_server


@pytest.fixture(autouse=True)
def quiet_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The developer's own git configuration has no say in the tests."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[user]\nname = dev\nemail = dev@example.invalid\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
async def server() -> AsyncIterator[StockServer]:
    """A server like the stock one, impatient enough for tests, but not with a busy machine."""
    async with run_stock_server(
        heartbeat_interval_ms=1000, redelivery_seconds=3.0, expiry_seconds=60.0, sweep_seconds=0.5
    ) as server:
        yield server


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Where the daemon keeps everything."""
    return tmp_path / "data"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with a few files."""
    path = tmp_path / "src" / "demo"
    path.mkdir(parents=True)

    def git(*args: str) -> None:
        subprocess.run(["git", *args], cwd=path, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    for number in range(20):
        file = path / f"d{number % 4}" / f"f{number}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{number}\n")
    git("add", "-A")
    git("commit", "-qm", "initial")
    return path
