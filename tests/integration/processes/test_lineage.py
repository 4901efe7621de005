"""Whose a process is: the evidence taken one by one, and what is never taken for ours."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from bbhost.processes import proc
from bbhost.processes.environ import MARKER_VARIABLE
from bbhost.processes.keeper import ProcessKeeper
from bbhost.processes.lineage_tag import is_tag, make_tag, tag_data_id
from bbhost.processes.proc import ProcessIdentity
from bbhost.processes.signalling import signal_process, wait_ended
from bbhost.processes.table import ProcTable
from tests.integration.processes.conftest import Token, read_lines

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

ORPHAN = "setsid bash -c 'echo ready $$; sleep 300; :' \"$1\" & exit 0"
NO_ENVIRONMENT = 'exec env -i PATH="$PATH" bash -c \'(setsid bash -c "echo ready \\$\\$; sleep 300; :" $1 &)\' x $1'
SAME_SESSION = (
    'exec env -i PATH="$PATH" bash -c \'(bash -c "echo ready \\$\\$; sleep 300; :" $1 &)\' x $1'
)


@pytest.fixture
def use_cgroup() -> bool:
    """The leaf would answer every question here."""
    return False


async def _orphan(keeper: ProcessKeeper, name: str, script: str, token: Token, cwd: Path) -> int:
    boundary = keeper.open_boundary(name, 1)
    child = await boundary.open_process(
        ["bash", "-c", script, "bash", token.text], cwd=cwd, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    with trio.fail_after(10):
        (line,) = await read_lines(child.stdout, 1)
        await child.wait()
        pid = int(line.split()[1])
        while (stat := proc.read_stat(pid)) is not None and stat.ppid != os.getpid():  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.001)
    child.close_streams()
    return pid


def _blind(monkeypatch: pytest.MonkeyPatch, keeper: ProcessKeeper, *senses: str) -> None:
    for sense in senses:
        monkeypatch.setattr(keeper._lineage.table, sense, lambda *_args: None)


@pytest.mark.parametrize(
    ("script", "missing"),
    [
        (ORPHAN, ["variable_of"]),
        (NO_ENVIRONMENT, []),
        (NO_ENVIRONMENT, ["variable_of"]),
        (ORPHAN, ["tag_of"]),
        (SAME_SESSION, ["tag_of"]),
        (SAME_SESSION, ["tag_of", "variable_of"]),
    ],
    ids=["tag", "tag-cleared", "tag-only", "marker", "session", "session-only"],
)
async def test_each_kind_of_evidence_suffices(
    script: str,
    missing: list[str],
    keeper: ProcessKeeper,
    token: Token,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """An orphan is told from that of the neighbour by whatever evidence it still carries."""
    other_token = Token()
    _blind(monkeypatch, keeper, *missing)
    other = await _orphan(keeper, "other", script, other_token, tmp_path)
    mine = await _orphan(keeper, "mine", script, token, tmp_path)
    first, second = keeper.boundaries
    assert [process.pid for process in second.processes()][:1] == [mine]
    await second.end()
    assert token.alive() == []
    assert other in other_token.alive()
    await first.end()
    assert other_token.alive() == []


async def test_an_orphan_without_any_evidence_is_counted_and_left_alone(
    keeper: ProcessKeeper, token: Token, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Nothing is killed on a guess."""
    _blind(monkeypatch, keeper, "tag_of", "variable_of")
    pid = await _orphan(keeper, "env", NO_ENVIRONMENT, token, tmp_path)
    (boundary,) = keeper.boundaries
    report = await boundary.end()
    assert pid not in {process.pid for process in report.ended}
    assert pid in token.alive()
    keeper._lineage.pass_over_children()
    assert keeper.statistics().unattributed == 1
    identity = proc.read_stat(pid).identity
    os.kill(pid, signal.SIGKILL)
    for child in proc.child_pids(pid):
        os.kill(child, signal.SIGKILL)
    await wait_ended([identity], proc.read_stat)


async def test_what_an_earlier_pass_recorded_is_remembered(
    keeper: ProcessKeeper, token: Token, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A process that drops its evidence later is still known."""
    pid = await _orphan(keeper, "env", ORPHAN, token, tmp_path)
    keeper._lineage.pass_over_children()
    _blind(monkeypatch, keeper, "tag_of", "variable_of")
    (boundary,) = keeper.boundaries
    report = await boundary.end()
    assert pid in {process.pid for process in report.ended}


@pytest.mark.slow
async def test_orphans_are_reaped_and_no_exit_code_is_stolen(
    keeper: ProcessKeeper, tmp_path: Path
):
    """Adopted zombies go; children of the daemon, even those a library started, keep their status."""
    library = subprocess.Popen(["sh", "-c", "exit 7"])
    library_session = subprocess.Popen(["sh", "-c", "exit 8"], start_new_session=True)
    boundary = keeper.open_boundary("env", 1)
    children = [
        await boundary.open_process(["sh", "-c", f"(sleep 0 &) ; exit {n}"], cwd=tmp_path)
        for n in range(20)
    ]
    with trio.fail_after(10):
        while keeper.statistics().orphans_reaped < 20:  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.01)
        assert [await child.wait() for child in children] == list(range(20))
    assert library.wait() == 7
    assert library_session.wait() == 8
    await boundary.end()


async def test_a_reused_pid_is_not_signalled(tmp_path: Path):
    """The number alone is nothing: another start time means another process."""
    child = subprocess.Popen(["sleep", "300"])
    stat = proc.read_stat(child.pid)
    assert stat is not None
    stale = ProcessIdentity(child.pid, stat.start_time - 1)
    assert not signal_process(stale, [signal.SIGKILL], proc.read_stat)
    await wait_ended([stale], proc.read_stat)
    assert child.poll() is None
    assert signal_process(stat.identity, [signal.SIGKILL], proc.read_stat)
    with trio.fail_after(5):
        await wait_ended([stat.identity], proc.read_stat)
    child.wait()
    assert not signal_process(stat.identity, [signal.SIGKILL], proc.read_stat)


async def test_without_pidfds_the_end_is_the_same(
    keeper: ProcessKeeper, token: Token, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Kernels before 5.3: the start time is compared, then the pid is signalled."""
    monkeypatch.delattr(os, "pidfd_open")
    boundary = keeper.open_boundary("env", 1)
    script = "trap '' TERM; setsid bash -c 'echo ready; sleep 300; :' $1 & sleep 300"
    child = await boundary.open_process(
        ["bash", "-c", script, "bash", token.text], cwd=tmp_path, stdout=subprocess.PIPE
    )
    await read_lines(child.stdout, 1)
    with trio.fail_after(5):
        report = await boundary.end(0.1)
        assert await child.wait() == -signal.SIGKILL
    assert report.survivors == ()
    child.close_streams()


async def test_a_kernel_without_child_lists(
    keeper: ProcessKeeper, token: Token, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The tree is then read from one snapshot of all processes."""
    table = keeper._lineage.table
    assert isinstance(table, ProcTable)
    monkeypatch.setattr(table, "_has_child_lists", False)
    pid = await _orphan(keeper, "env", NO_ENVIRONMENT, token, tmp_path)
    report = await keeper.boundaries[0].end()
    assert pid in {process.pid for process in report.ended}


async def test_without_a_subreaper_the_mark_is_looked_for_everywhere(
    keeper: ProcessKeeper, token: Token, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The plain backend ends what carries our mark, wherever it hangs, and nothing without it."""
    monkeypatch.setattr(keeper._lineage, "is_subreaper", False)
    stranger = subprocess.Popen(["sleep", "300"], cwd=tmp_path)
    pid = await _orphan(keeper, "env", NO_ENVIRONMENT, token, tmp_path)
    report = await keeper.boundaries[0].end()
    assert pid in {process.pid for process in report.ended}
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


async def test_bystanders_are_reported_and_not_touched(keeper: ProcessKeeper, tmp_path: Path):
    """A process that merely has its cwd in the workspace lives on; a sibling directory is no match."""
    workspace = tmp_path / "work"
    inside = workspace / "deep" / "er"
    inside.mkdir(parents=True)
    (tmp_path / "work-evil").mkdir()
    bystander = subprocess.Popen(["sleep", "300"], cwd=inside)
    elsewhere = subprocess.Popen(["sleep", "300"], cwd=tmp_path / "work-evil")
    boundary = keeper.open_boundary("env", 1)
    await boundary.open_process(["sleep", "300"], cwd=workspace)
    report = await boundary.end(workspace=workspace)
    assert len(report.ended) == 1
    assert [(b.identity.pid, b.name, b.directory) for b in report.bystanders] == [
        (bystander.pid, "sleep", str(inside))
    ]
    for process in (bystander, elsewhere):
        assert process.poll() is None
        process.kill()
        process.wait()


async def test_the_marker_names_the_boundary_and_private_variables_stay_private(
    keeper: ProcessKeeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Children see the marker, and none of the daemon's own settings."""
    monkeypatch.setenv("BB_HOST_ENROLL_KEY", "secret")
    monkeypatch.setenv("BBHOST_CONFIG", "x")
    monkeypatch.setenv("NODE_ENV", "production")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
    boundary = keeper.open_boundary("env", 3)
    child = await boundary.open_process(["env"], cwd=tmp_path, stdout=subprocess.PIPE)
    text = b""
    while chunk := await child.stdout.receive_some(65536):
        text += chunk
    names = {line.split("=")[0] for line in text.decode().splitlines()}
    assert f"{MARKER_VARIABLE}={boundary.marker}".encode() in text
    assert not names & {"BB_HOST_ENROLL_KEY", "BBHOST_CONFIG", "NODE_ENV", "NOTIFY_SOCKET"}
    await boundary.end()
    child.close_streams()


@pytest.mark.parametrize("data_id", [0, 1, 0xFFFFFFFF])
def test_tags_keep_their_parts(data_id: int):
    """A tag is a tag, names its data directory, and is no limit anybody would set."""
    tag = make_tag(data_id, 12345)
    assert is_tag(tag)
    assert tag_data_id(tag) == data_id
    assert tag > 2**62 - 1
    assert not is_tag(200_000)
    assert not is_tag(None)
    assert not is_tag(2**64 - 1)


async def test_many_may_end_one_boundary_at_once(
    keeper: ProcessKeeper, token: Token, tmp_path: Path
):
    """Ending is idempotent, also while it is under way; afterwards nothing can be started."""
    boundary = keeper.open_boundary("env", 1)
    await boundary.open_process(["bash", "-c", "sleep 300; :", token.text], cwd=tmp_path)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(boundary.end)
    assert token.alive() == []
