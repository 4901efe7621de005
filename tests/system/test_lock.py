"""One daemon per data directory, whatever became of the last one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bbhost.daemon.lock import AlreadyRunningError, hold_lock, lock_owner, lock_path

HOLDER = """
import sys
from pathlib import Path
from bbhost.daemon.lock import hold_lock
with hold_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that owns the data directory."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_second_daemon_is_refused_at_once(tmp_path: Path, holder: subprocess.Popen) -> None:
    """The message names the owner."""
    with pytest.raises(AlreadyRunningError, match=str(holder.pid)), hold_lock(tmp_path):
        pass
    assert lock_owner(tmp_path) == holder.pid


def test_a_killed_owner_blocks_nobody(tmp_path: Path, holder: subprocess.Popen) -> None:
    """The lock ends with its process; there is nothing to wait for."""
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert lock_owner(tmp_path) is None
    with hold_lock(tmp_path):
        assert lock_owner(tmp_path) == os.getpid()


def test_a_stale_file_with_a_reused_pid_blocks_nobody(tmp_path: Path) -> None:
    """What a file says does not count."""
    lock_path(tmp_path).write_text(f"{os.getpid()}\n")
    with hold_lock(tmp_path):
        pass


def test_the_original_daemon_is_honoured_while_its_lock_is_fresh(tmp_path: Path) -> None:
    """Two daemons of different make must not share a data directory."""
    foreign = tmp_path / "daemon.lock.lock"
    foreign.mkdir()
    with pytest.raises(AlreadyRunningError, match="original"), hold_lock(tmp_path):
        pass
    os.utime(foreign, (1, 1))
    with hold_lock(tmp_path):
        pass
