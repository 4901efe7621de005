"""What a killed daemon left is found and ended by the next one, and nothing else is."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import trio

from bbhost.processes import proc
from bbhost.processes.environ import MARKER_VARIABLE
from bbhost.processes.keeper import ProcessKeeper
from bbhost.processes.lineage_tag import tagging
from bbhost.processes.marker import Marker, data_directory_id, parse_markers
from bbhost.processes.records import ProcessRecord
from tests.integration.processes.conftest import Token

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def _killed_daemon(data_dir: Path, use_cgroup: bool, token: Token) -> list[ProcessRecord]:
    """Run a daemon until its processes are there, kill it, and return what its journal would hold."""
    data_dir.mkdir(exist_ok=True)
    argv = [sys.executable, "-m", "tests.integration.processes.killed_daemon", str(data_dir)]
    daemon = subprocess.Popen(
        [*argv, "cgroup" if use_cgroup else "subreaper", token.text], stdout=subprocess.PIPE
    )
    assert daemon.stdout is not None
    with daemon.stdout:
        records = [ProcessRecord(**record) for record in json.loads(daemon.stdout.readline())]
    daemon.kill()
    assert daemon.wait() == -signal.SIGKILL
    return records


@pytest.mark.slow
@pytest.mark.parametrize("with_journal", [True, False])
async def test_leftovers_of_a_killed_daemon_are_ended(
    with_journal: bool, use_cgroup: bool, token: Token, tmp_path: Path
):
    """By the journal, by mark alone, and in their leaves; another daemon's processes stay."""
    other_token = Token()
    _killed_daemon(tmp_path / "other", use_cgroup, other_token)
    others = set(other_token.alive())
    records = _killed_daemon(tmp_path / "data", use_cgroup, token)
    assert len(records) == 3
    assert len(token.alive()) >= 3
    keeper = ProcessKeeper(tmp_path / "data", use_cgroup=use_cgroup)
    with trio.fail_after(10):
        report = await keeper.sweep(records if with_journal else [])
    assert token.alive() == []
    assert report.survivors == ()
    assert len(report.ended) >= 3
    assert report.leaves_removed == (3 if use_cgroup else 0)
    assert others <= set(other_token.alive())
    # The other daemon's own sweep ends them; a second sweep finds nothing.
    await ProcessKeeper(tmp_path / "other", use_cgroup=use_cgroup).sweep()
    assert other_token.alive() == []
    assert (await keeper.sweep(records)).ended == ()


async def test_a_sweep_spares_the_present_run(keeper: ProcessKeeper, token: Token, tmp_path: Path):
    """Processes of live boundaries carry the same data id and are not leftovers."""
    boundary = keeper.open_boundary("env", 1)
    child = await boundary.open_process(["bash", "-c", "sleep 300; :", token.text], cwd=tmp_path)
    assert (await keeper.sweep()).ended == ()
    assert child.poll() is None
    await boundary.end()


@pytest.mark.parametrize(
    "wrong", [{"start_time": 1}, {"boot_id": "00000000-0000-0000-0000-000000000000"}]
)
async def test_a_record_that_does_not_fit_kills_nobody(
    wrong: dict[str, object], keeper: ProcessKeeper, tmp_path: Path
):
    """A journalled pid that now belongs to another process, or is of another boot, is not touched."""
    stranger = subprocess.Popen(["sleep", "300"])
    stat = proc.read_stat(stranger.pid)
    assert stat is not None
    record = ProcessRecord("env", 1, stranger.pid, stat.start_time, proc.boot_id(), "x")
    assert (await keeper.sweep([attrs.evolve(record, **wrong)])).ended == ()
    assert stranger.poll() is None
    report = await keeper.sweep([record])
    assert report.ended == (stat.identity,)
    stranger.wait()


@pytest.mark.slow
async def test_a_daemon_started_inside_its_own_environment_does_not_end_itself(
    token: Token, tmp_path: Path
):
    """The sweep spares its own process and its ancestors, and does not mark children as leftovers."""
    first = ProcessKeeper(tmp_path, use_cgroup=False)
    boundary = first.open_boundary("env", 1)
    script = (
        "import trio, sys, os\n"
        "from pathlib import Path\n"
        "from bbhost.processes.keeper import ProcessKeeper\n"
        "keeper = ProcessKeeper(Path(sys.argv[1]), use_cgroup=False)\n"
        "report = trio.run(keeper.sweep)\n"
        "print(len(report.ended))\n"
    )
    child = await boundary.open_process(
        ["bash", "-c", '"$@"; echo after', "bash", sys.executable, "-c", script, str(tmp_path)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
    )
    text = b""
    with trio.fail_after(20):
        while chunk := await child.stdout.receive_some(4096):
            text += chunk
        assert await child.wait() == 0
    assert text == b"0\nafter\n"
    child.close_streams()
    await boundary.end()


def test_the_marker_says_who_and_survives_odd_names(tmp_path: Path):
    """Any environment id round-trips; outer daemons come first; one's own old marker is dropped."""
    mine = Marker("0123abcd", "ffff0000", 3, "id with, comma.dot=and/slash\u00e9\n")
    outer = Marker("99999999", "00000001", 1, "outer")
    assert parse_markers(str(mine)) == (mine,)
    assert parse_markers(mine.variable({MARKER_VARIABLE: str(outer)})) == (outer, mine)
    old = Marker("0123abcd", "eeee0000", 1, "old")
    assert parse_markers(mine.variable({MARKER_VARIABLE: f"{outer},{old}"})) == (outer, mine)
    assert parse_markers("nonsense,,a.b.c.d") == ()
    assert parse_markers(f"a.b.{'9' * 5000}.d") == (), "Python makes no number of so many digits"
    assert parse_markers(None) == ()


def test_the_data_id_is_stable_and_separates_directories(tmp_path: Path):
    """The same directory by any path, and no other."""
    link = tmp_path / "link"
    (tmp_path / "a").mkdir()
    link.symlink_to(tmp_path / "a")
    assert data_directory_id(tmp_path / "a") == data_directory_id(link)
    assert data_directory_id(tmp_path / "a") != data_directory_id(tmp_path / "b")


async def test_tagging_leaves_the_daemons_own_limit_alone(tmp_path: Path):
    """The limit is set for the child only, also when the start fails."""
    before = proc.realtime_limit(os.getpid())
    with pytest.raises(LookupError), tagging((1 << 62) + 9):
        assert proc.realtime_limit(os.getpid()) == (1 << 62) + 9
        raise LookupError
    assert proc.realtime_limit(os.getpid()) == before
