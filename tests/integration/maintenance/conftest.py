"""The parts of a real daemon, running in the test's own process without a server."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from bbhost.daemon.assembly import Parts, open_parts
from bbhost.daemon.config import Config, load_config
from bbhost.terminals.shell import ShellSettings
from bbhost.toolkit.running import running
from tests.integration.workspace.scratch import USER_CONFIG, make_repository


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The developer's own git configuration has no say in the tests."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(USER_CONFIG)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for name in [name for name in os.environ if name.startswith(("BB_", "BBHOST_"))]:
        monkeypatch.delenv(name)
    return home


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with one commit of two files."""
    return make_repository(tmp_path / "src" / "demo")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Settings of a data directory in the temporary directory."""
    flags = {"data_dir": str(tmp_path / "data"), "server_url": "http://127.0.0.1:9"}
    return load_config(flags, environ={}, file=tmp_path / "config.toml")


@pytest.fixture
async def parts(config: Config) -> AsyncIterator[Parts]:
    """Everything below the session, running."""
    async with AsyncExitStack() as ladder:
        parts = await ladder.enter_async_context(open_parts(config, ShellSettings("http://x")))
        for service in (
            parts.keeper.run,
            parts.processes.run,
            parts.watches.run,
            parts.lag.run,
            parts.journal_probe.run,
            parts.supervisor.run,
            parts.terminals.run,
            parts.reconciler.run,
        ):
            await ladder.enter_async_context(running(service))
        with trio.fail_after(60):
            yield parts
