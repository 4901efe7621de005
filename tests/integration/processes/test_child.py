"""run_child: what comes out, what is bounded, and that nothing of it is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from bbhost.processes.child import run_child
from bbhost.processes.spawn import spawn, started_children
from tests.integration.processes.conftest import Token


async def test_output_input_and_exit_status(tmp_path: Path):
    """Bytes go in and come out, stdout and stderr apart, and the exit status is the child's."""
    argv = ["sh", "-c", "cat; echo oops >&2; exit 3"]
    completed = await run_child(argv, cwd=tmp_path, stdin=b"\0bytes\xff")
    assert completed.stdout == b"\0bytes\xff"
    assert completed.stderr == b"oops\n"
    assert completed.returncode == 3
    assert completed.argv == tuple(argv)
    assert not completed.truncated
    assert not completed.held_open


async def test_merged_stderr_keeps_the_order(tmp_path: Path):
    """With merge_stderr both arrive in stdout in the order written."""
    argv = ["sh", "-c", "echo 1; echo 2 >&2; echo 3"]
    completed = await run_child(argv, cwd=tmp_path, merge_stderr=True)
    assert completed.stdout == b"1\n2\n3\n"
    assert completed.stderr == b""


async def test_output_beyond_the_limit_is_cut_flagged_and_drained(tmp_path: Path):
    """A child that writes more than is kept is not blocked and ends by itself."""
    seen = 0

    def count(chunk: bytes) -> None:
        nonlocal seen
        seen += len(chunk)

    with trio.fail_after(20):
        completed = await run_child(
            ["sh", "-c", "head -c 3000000 /dev/zero; head -c 300000 /dev/zero >&2"],
            cwd=tmp_path,
            stdout_limit=1000,
            on_output=count,
        )
    assert completed.returncode == 0
    assert len(completed.stdout) == 1000
    assert len(completed.stderr) == 256 * 1024
    assert completed.truncated
    assert seen == 3_000_000


async def test_exactly_the_limit_is_not_truncated(tmp_path: Path):
    """The limit itself still fits."""
    completed = await run_child(["printf", "12345"], cwd=tmp_path, stdout_limit=5)
    assert (completed.stdout, completed.truncated) == (b"12345", False)


async def test_a_child_that_does_not_read_its_input(tmp_path: Path):
    """Unread input is no failure."""
    completed = await run_child(["true"], cwd=tmp_path, stdin=bytes(1 << 20))
    assert completed.returncode == 0


@pytest.mark.parametrize(
    ("argv", "cwd", "error"),
    [
        (["no-such-program-at-all"], "/", FileNotFoundError),
        (["true"], "/no/such/directory", FileNotFoundError),
        (["/"], "/", PermissionError),
        (["true", "a\0b"], "/", ValueError),
    ],
)
async def test_spawn_errors_arrive_bare(argv: list[str], cwd: str, error: type[Exception]):
    """What could not be started raises what the system said, in no group, and leaves no descriptor."""
    before = len(list(Path("/dev/fd").iterdir()))
    with pytest.raises(error):
        await run_child(argv, cwd=cwd, stdin=b"x")
    assert len(list(Path("/dev/fd").iterdir())) == before
    assert started_children == {}


async def test_argv_never_meets_a_shell(tmp_path: Path):
    """Arguments arrive as they are."""
    completed = await run_child(["printf", "%s", "$(id) `id` ; *"], cwd=tmp_path)
    assert completed.stdout == b"$(id) `id` ; *"


async def test_the_child_leads_its_own_session(tmp_path: Path):
    """No terminal signal of the daemon reaches it."""
    argv = [sys.executable, "-I", "-S", "-c", "import os; print(os.getsid(0) == os.getpid())"]
    assert (await run_child(argv, cwd=tmp_path)).stdout == b"True\n"


async def test_a_grandchild_in_the_group_does_not_outlive_the_run(token: Token, tmp_path: Path):
    """Without a boundary the group is swept when the leader has gone, and nothing hangs."""
    argv = ["bash", "-c", "bash -c 'sleep 300; :' \"$1\" & echo hi", "bash", token.text]
    with trio.fail_after(5):
        completed = await run_child(argv, cwd=tmp_path)
    assert completed.stdout == b"hi\n"
    assert not completed.held_open
    assert token.alive() == []


@pytest.mark.slow
async def test_a_stranger_that_holds_the_pipe_does_not_hang_the_run(tmp_path: Path):
    """A process outside the group that keeps the output open delays the result by a bounded time."""
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    script = f"setsid sh -c 'echo > {ready}; sleep 300' & read x < {ready}; echo $!"
    started = time.monotonic()
    with trio.fail_after(5):
        completed = await run_child(["bash", "-c", script], cwd=tmp_path)
    assert completed.held_open
    assert 0.4 < time.monotonic() - started < 3
    os.killpg(int(completed.stdout), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("ignores_term", [False, True])
async def test_cancellation_ends_the_whole_group(ignores_term: bool, token: Token, tmp_path: Path):
    """TERM, then KILL after the grace; the grandchildren as well; the child is reaped."""
    trap = "trap '' TERM;" if ignores_term else ""
    script = f"{trap} bash -c '{trap} echo in; sleep 300; :' \"$1\" & wait"
    started = 0.0

    with trio.CancelScope() as scope, trio.CancelScope(deadline=trio.current_time() + 10):

        def begun(_chunk: bytes) -> None:
            nonlocal started
            started = time.monotonic()
            scope.cancel()

        await run_child(
            ["bash", "-c", script, "bash", token.text],
            cwd=tmp_path,
            on_output=begun,
            grace_seconds=0.3,
        )
    assert scope.cancelled_caught
    assert (time.monotonic() - started > 0.25) is ignores_term
    assert token.alive() == []
    assert started_children == {}


async def test_a_failing_on_output_ends_the_child(token: Token, tmp_path: Path):
    """The error comes out and the child is gone."""

    def fail(_chunk: bytes) -> None:
        raise LookupError

    argv = ["bash", "-c", "echo x; sleep 300; :", token.text]
    with pytest.RaisesGroup(LookupError), trio.fail_after(5):
        await run_child(argv, cwd=tmp_path, on_output=fail)
    assert token.alive() == []


@pytest.mark.slow
async def test_many_short_children_at_once(tmp_path: Path):
    """Exit statuses are never mixed up, and descriptors and children return to the baseline."""
    before = len(list(Path("/dev/fd").iterdir()))
    codes: dict[int, int] = {}

    async def one(number: int) -> None:
        completed = await run_child(["sh", "-c", f"exit {number}"], cwd=tmp_path)
        codes[number] = completed.returncode

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(one, number)
    assert codes == {number: number for number in range(50)}
    assert len(list(Path("/dev/fd").iterdir())) == before
    assert started_children == {}


async def test_two_may_wait_and_a_third_may_reap(tmp_path: Path):
    """Waiters get the status even if somebody else reaps the child meanwhile."""
    child = spawn(["cat"], cwd=tmp_path, env=os.environ, stdin=subprocess.PIPE)
    codes: list[int] = []

    async def wait() -> None:
        codes.append(await child.wait())

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            child.send_signal(signal.SIGKILL)
            while child.poll() is None:
                time.sleep(0.001)
    child.close_streams()
    assert codes == [-signal.SIGKILL, -signal.SIGKILL]
