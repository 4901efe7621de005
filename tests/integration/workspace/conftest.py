"""A user of its own for each test: no configuration of the machine's user leaks in."""

from pathlib import Path

import pytest

from tests.integration.workspace.scratch import USER_CONFIG, make_repository


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory with the least git wants to know."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(USER_CONFIG)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return home


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with one commit of two files."""
    return make_repository(tmp_path / "repo")
