"""The table by ps, which macOS needs. The ps of Linux prints the same columns, so it runs here too."""

import os
import subprocess
from pathlib import Path

import pytest

from bbhost.processes.keeper import ProcessKeeper
from bbhost.processes.ps_table import PsTable, parse_ps_environments, parse_ps_line
from tests.integration.processes.conftest import Token, read_lines

MAC = "  501     1   501      0 Ss   ??       Mon Nov 23 07:03:11 2026     /usr/sbin/some daemon"


def test_a_line_of_macos():
    """No session, no terminal, a name with a space."""
    stat = parse_ps_line(MAC)
    assert stat is not None
    assert (stat.pid, stat.ppid, stat.pgid, stat.sid, stat.state) == (501, 1, 501, 501, "S")
    assert stat.name == "/usr/sbin/some daemon"
    assert not stat.has_terminal


@pytest.mark.parametrize("line", ["", "PID PPID", "1 2 3", MAC.replace("Nov", "Xxx")])
def test_lines_that_are_none(line: str):
    """Headings and garbage name no process."""
    assert parse_ps_line(line) is None


def test_environments():
    """Words with an equals sign, by pid."""
    text = "  7 sleep 300 A=1 B=x=y\n 8 none\nbad line C=1"
    assert parse_ps_environments(text) == {7: ["A=1", "B=x=y"], 8: []}


def test_this_process_by_ps():
    """What ps says of the test itself is what the system says."""
    stat = PsTable().read_stat(os.getpid())
    assert stat is not None
    assert (stat.ppid, stat.pgid) == (os.getppid(), os.getpgrp())


@pytest.mark.slow
@pytest.mark.parametrize("use_cgroup", [False])
async def test_a_boundary_is_ended_by_ps_alone(
    keeper: ProcessKeeper, token: Token, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The plain backend without /proc: children, groups, and orphans by their marker."""
    monkeypatch.setattr(keeper._lineage, "table", PsTable())
    monkeypatch.setattr(keeper._lineage, "is_subreaper", False)
    monkeypatch.setattr(keeper._lineage, "_tags_available", False)
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    stranger = subprocess.Popen(["sleep", "300"], start_new_session=True)
    boundary = keeper.open_boundary("env", 1)
    script = "setsid bash -c 'echo ready; sleep 300; :' $1 & sleep 300"
    child = await boundary.open_process(
        ["bash", "-c", script, "bash", token.text], cwd=tmp_path, stdout=subprocess.PIPE
    )
    await read_lines(child.stdout, 1)
    report = await boundary.end()
    assert report.survivors == ()
    assert len(report.ended) >= 3
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()
    child.close_streams()
