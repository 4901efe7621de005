"""Children on a pseudo-terminal."""

import os
import pty
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from bbhost.processes.environ import MARKER_VARIABLE, child_environ
from bbhost.processes.keeper import ProcessKeeper


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    yield master, slave
    os.close(master)
    os.close(slave)


async def _read_until(master: int, wanted: bytes) -> bytes:
    text = b""
    with trio.fail_after(10):
        while not re.search(wanted, text):
            await trio.lowlevel.wait_readable(master)
            text += os.read(master, 65536)
    return text


async def test_the_terminal_controls_the_session(
    keeper: ProcessKeeper, terminal: tuple[int, int], tmp_path: Path
):
    """The child is session leader in the foreground of the terminal and can open /dev/tty."""
    master, slave = terminal
    boundary = keeper.open_boundary("env", 1)
    script = (
        "tty; echo $$ $(ps -o sid=,tpgid= -p $$); echo through > /dev/tty; ls /dev/fd; echo end"
    )
    child = await boundary.open_process(["bash", "-c", script], cwd=tmp_path, pty=slave)
    text = (await _read_until(master, b"end\r\n")).replace(b"\r", b"").decode().split("\n")
    assert text[0] == os.ttyname(slave)
    assert text[1].split() == [str(child.pid)] * 3
    assert text[2] == "through"
    assert await child.wait() == 0
    # The launcher's own descriptor is not inherited: 0, 1, 2 and the one that ls reads with.
    assert text[3].split() == ["0", "1", "2", "3"]


async def test_control_c_reaches_the_foreground(
    keeper: ProcessKeeper, terminal: tuple[int, int], tmp_path: Path
):
    """A byte typed becomes the signal."""
    master, slave = terminal
    boundary = keeper.open_boundary("env", 1)
    script = "trap 'exit 5' INT; echo ready; while :; do sleep 0.05; done"
    child = await boundary.open_process(["bash", "-c", script], cwd=tmp_path, pty=slave)
    await _read_until(master, b"ready")
    os.write(master, b"\x03")
    # By its exit status: the terminal discards what is printed while it handles the byte.
    with trio.fail_after(30):
        assert await child.wait() == 5


async def test_an_interactive_shell_with_jobs_is_ended_within_the_grace(
    keeper: ProcessKeeper, terminal: tuple[int, int], tmp_path: Path
):
    """Interactive shells ignore TERM; they are hung up."""
    master, slave = terminal
    boundary = keeper.open_boundary("env", 1)
    env = child_environ({"PS1": "prompt> "})
    await boundary.open_process(["bash", "--norc", "-i"], cwd=tmp_path, env=env, pty=slave)
    await _read_until(master, b"prompt> ")
    os.write(master, b"sleep 300 & sleep 301\n")
    await _read_until(master, rb"\[1\] \d+")
    with trio.fail_after(30):
        report = await boundary.end(grace_seconds=5)
    assert report.survivors == ()
    assert boundary.processes() == []


async def test_environment_passes_the_launcher_whole(
    keeper: ProcessKeeper, terminal: tuple[int, int], tmp_path: Path
):
    """Names that a shell cannot assign, odd values and the marker arrive."""
    master, slave = terminal
    boundary = keeper.open_boundary("an env/with, odd.name", 7)
    odd = {"BASH_FUNC_f%%": "() { :; }", "a.b": "x y", "PLAIN": "'\"$(id)\n"}
    out = tmp_path / "environment"
    argv = ["sh", "-c", 'cat /proc/$$/environ > "$0"; echo end', str(out)]
    child = await boundary.open_process(argv, cwd=tmp_path, env=child_environ(odd), pty=slave)
    await _read_until(master, b"end")
    await child.wait()
    variables = dict(entry.split("=", 1) for entry in out.read_text().split("\0") if "=" in entry)
    assert odd.items() <= variables.items()
    assert variables[MARKER_VARIABLE].endswith(str(boundary.marker))


@pytest.mark.parametrize(
    ("program", "error"),
    [("no-such-program", FileNotFoundError), ("./directory", PermissionError)],
)
async def test_a_missing_program_is_told_before_anything_runs(
    program: str,
    error: type[OSError],
    keeper: ProcessKeeper,
    terminal: tuple[int, int],
    tmp_path: Path,
):
    """The launcher does not turn a missing program into an exit status."""
    (tmp_path / "directory").mkdir()
    boundary = keeper.open_boundary("env", 1)
    with pytest.raises(error):
        await boundary.open_process([program], cwd=tmp_path, pty=terminal[1])
