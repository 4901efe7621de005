"""``bbhost doctor``, ``gc``, ``rescue`` and ``service`` as programs, where no daemon runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def bbhost(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {name: text for name, text in os.environ.items() if not name.startswith("BB")}
    environ |= {"HOME": str(tmp_path), "BBHOST_SERVER_URL": "http://127.0.0.1:9"}
    return subprocess.run(
        [sys.executable, "-m", "bbhost", *words, "--data-dir", str(tmp_path / "data")],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(autouse=True)
def data(tmp_path: Path) -> Path:
    """A data directory without a daemon."""
    place = tmp_path / "data"
    place.mkdir(mode=0o700)
    return place


def test_doctor_answers_without_a_daemon(tmp_path: Path, data: Path) -> None:
    """Exit code by severity: 0, then 1 for a leftover, then 2 for a key that others can read."""
    done = bbhost(tmp_path, "doctor", "--json")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["byDaemon"] is False
    (data / "worktrees" / "env_x" / "demo").mkdir(parents=True)
    done = bbhost(tmp_path, "doctor")
    assert done.returncode == 1
    assert "worktrees/env_x" in done.stdout
    (data / "auth.json").write_text("{}")
    (data / "auth.json").chmod(0o644)
    done = bbhost(tmp_path, "doctor", "--json")
    assert (done.returncode, json.loads(done.stdout)["outcome"]) == (2, "failed")


def test_gc_shows_and_removes_by_name_only(tmp_path: Path, data: Path) -> None:
    """What is unclear stays until its id is given."""
    left = data / "worktrees" / "env_x" / "demo"
    left.mkdir(parents=True)
    (left / "file").write_text("x")
    for words in ((), ("--no-dry-run",)):
        done = bbhost(tmp_path, "gc", "--json", *words)
        assert done.returncode == 0
        (item,) = json.loads(done.stdout)["items"]
        assert (item["outcome"], item["id"]) == ("unclear", "worktrees/env_x/demo")
        assert left.exists()
    done = bbhost(tmp_path, "gc", "--no-dry-run", "--include-unclear", "worktrees/env_x/demo")
    assert done.returncode == 0, done.stdout
    assert not left.exists()


def test_rescue_and_service_say_what_there_is(tmp_path: Path) -> None:
    """Nothing rescued, nothing installed; a dry run shows the definition and writes nothing."""
    assert bbhost(tmp_path, "rescue", "ls").returncode == 0
    assert "Nothing was rescued" in bbhost(tmp_path, "rescue", "drop", "env_x").stderr
    done = bbhost(tmp_path, "service", "install", "--dry-run", "--json")
    if done.returncode:
        pytest.skip(f"no service manager here: {done.stdout}")
    answer = json.loads(done.stdout)
    assert answer["result"] == "dry_run"
    assert not Path(answer["path"]).exists()
