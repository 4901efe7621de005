"""SIGKILL with turns under way: what the next daemon tells of them, and what it does not do twice."""

import json
import signal
from pathlib import Path

import pytest
import trio

from tests.fakes.stock_server import StockServer
from tests.system.daemon.harness import (
    DaemonProcess,
    run_daemon_process,
    running_commands,
    succeed,
    unmanaged_spec,
)
from tests.system.daemon.threads import (
    FULL,
    Thread,
    accepted_requests,
    agents_of,
    write_config,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """Variables with which a daemon knows the scripted agents."""
    return write_config(tmp_path / "config.toml")


def runs(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped by a slow init does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def heard(data_dir: Path, method: str) -> list[dict[str, object]]:
    """What scripted Codex was asked by a method, by whatever daemon, in order."""
    log = data_dir.parent / "codex.log"
    lines = log.read_text().splitlines() if log.exists() else []
    sent = [json.loads(line) for line in lines]
    return [one["params"] for one in sent if one.get("method") == method]


def opened_with(server: StockServer) -> list[str]:
    """The threads that the last daemon called active when it came."""
    opened = server.sessions[-1].opened_with
    return [one["threadId"] for one in opened["activeThreads"]]


async def provision(server: StockServer, data_dir: Path, *threads: Thread) -> None:
    """Make the environments known, in a daemon of its own."""
    async with run_daemon_process(server, data_dir) as daemon:
        for thread in threads:
            await succeed(server, unmanaged_spec(thread.environment_id, thread.path))
        assert await daemon.terminate() == 0


async def test_killed_with_turns_running(
    server: StockServer, data_dir: Path, repo: Path, variables: dict[str, str]
) -> None:
    """Nothing of the old daemon's agents survives, the turns are told to have ended, and go on."""
    codex = Thread(server, repo)
    acp = Thread(server, repo, "acp", thread_id="thr_acp")
    pid_file = repo.parent / "hidden"
    shell = Thread(server, repo, "shell", thread_id="thr_shell", options=dict(FULL))
    threads = (codex, acp, shell)
    with trio.fail_after(90):
        async with run_daemon_process(server, data_dir, environ=variables) as daemon:
            await succeed(server, unmanaged_spec(codex.environment_id, repo))
            await codex.start("wait")
            await acp.start("wait")
            await shell.start(
                f"setsid sleep 3127 & echo $! > {pid_file}; echo waiting; sleep 3127"
            )
            for thread in threads:
                await thread.wait_text("waiting")
            # One more waits for its turn, and was answered already.
            assert await codex.submit("say later") == "new-turn"
            await daemon.kill()
        hidden = int(pid_file.read_text())
        async with run_daemon_process(server, data_dir, environ=variables) as daemon:
            assert opened_with(server) == []
            assert agents_of(data_dir.parent) == set()
            assert not any(b"3127" in line for line in running_commands())
            assert not runs(hidden)
            for thread in (acp, shell):
                assert await thread.wait_completed() == "interrupted"
            assert await codex.wait_completed(2) == "interrupted"
            assert len(accepted_requests(codex)) == 2
            for thread in threads:
                fault = thread.events("turn/completed")[0]["error"]["message"]
                assert "restarted" in fault
            await codex.submit("say on")
            await acp.submit("on")
            await shell.submit("echo on")
            assert await codex.wait_completed(3) == "completed"
            for thread in (acp, shell):
                assert await thread.wait_completed(2) == "completed"
            for thread in threads:
                assert thread.text().strip().endswith("on")
                thread.check_events()
            (resumed,) = heard(data_dir, "thread/resume")
            assert resumed["threadId"] == codex.provider_thread_id
            assert len(heard(data_dir, "thread/start")) == 1
            texts = [one["input"][0]["text"] for one in heard(data_dir, "turn/start")]  # type: ignore[index]
            assert texts == ["wait", "say on"]
            assert await daemon.terminate() == 0
        # Told once and for all.
        told = len(server.events)
        async with run_daemon_process(server, data_dir, environ=variables) as daemon:
            await codex.submit("say last")
            assert await codex.wait_completed(4) == "completed"
            assert not any("restarted" in str(one) for one in server.events[told:])
            codex.check_events()


class Interrupted:
    """A command that a daemon is killed over at a fault point, and the daemon after it."""

    def __init__(self, server: StockServer, data_dir: Path, variables: dict[str, str]) -> None:
        self.server, self.data_dir, self.variables = server, data_dir, variables

    async def kill_at(self, point: str, thread: Thread, command: dict[str, object]) -> None:
        """Queue ``command``; the daemon that runs it is killed at ``point``."""
        environ = {**self.variables, "BBHOST_FAULT": f"kill:{point}"}
        async with run_daemon_process(self.server, self.data_dir, environ=environ) as daemon:
            self.row = await self.server.queue(command)
            assert await daemon.wait() == -signal.SIGKILL, daemon.log_text()

    async def next_result(self, daemon: DaemonProcess) -> dict[str, object]:
        """Its result, as the next daemon tells it."""
        result = await self.server.wait_result(self.row)
        assert result["ok"], (result, daemon.log_text())
        return dict(result["result"])


NOT_GIVEN = ["thread.staged", "thread.agent_started"]
GIVEN = ["thread.noted", "thread.turn_started", "command.before_settle"]


@pytest.mark.parametrize("point", NOT_GIVEN + GIVEN)
async def test_a_start_that_was_cut_short(
    server: StockServer, data_dir: Path, repo: Path, variables: dict[str, str], point: str
) -> None:
    """Begun anew where no agent had been given it; otherwise told what became of it."""
    thread = Thread(server, repo)
    interrupted = Interrupted(server, data_dir, variables)
    command = thread.start_command("wait")
    with trio.fail_after(90):
        await provision(server, data_dir, thread)
        await interrupted.kill_at(point, thread, command)
        async with run_daemon_process(server, data_dir, environ=variables) as daemon:
            result = await interrupted.next_result(daemon)
            assert result == {"providerThreadId": "thr_1"}
            thread.provider_thread_id = "thr_1"
            if point in NOT_GIVEN:
                await thread.wait_text("waiting")
                await thread.stop()
            assert await thread.wait_completed() == "interrupted"
            assert accepted_requests(thread) == [command["requestId"]]
            # The same request once more, under another command.
            assert await succeed(server, command) == result
            prompts = heard(data_dir, "turn/start")
            assert len(prompts) == (0 if point == "thread.noted" else 1)
            assert len(thread.events("turn/started")) == 1
            assert await thread.submit("say on") == "new-turn"
            assert await thread.wait_completed(2) == "completed"
            thread.check_events()


@pytest.mark.parametrize("point", GIVEN)
async def test_a_submit_that_was_cut_short(
    server: StockServer, data_dir: Path, repo: Path, variables: dict[str, str], point: str
) -> None:
    """The agent died with the daemon in its turn: it is reported, told as interrupted, not repeated."""
    thread = Thread(server, repo, "shell", options=dict(FULL))
    traces = repo.parent / "traces"
    interrupted = Interrupted(server, data_dir, variables)
    with trio.fail_after(90):
        async with run_daemon_process(server, data_dir, environ=variables) as daemon:
            await succeed(server, unmanaged_spec(thread.environment_id, repo))
            await thread.start("echo first")
            await thread.wait_completed()
            assert await daemon.terminate() == 0
        command = thread.submit_command(f"echo trace >> {traces}; sleep 60")
        await interrupted.kill_at(point, thread, command)
        async with run_daemon_process(server, data_dir, environ=variables) as daemon:
            assert await interrupted.next_result(daemon) == {"appliedAs": "new-turn"}
            assert await thread.wait_completed(2) == "interrupted"
            assert command["requestId"] in accepted_requests(thread)
            assert (await succeed(server, command)) == {"appliedAs": "new-turn"}
            assert await thread.submit("echo on") == "new-turn"
            assert await thread.wait_completed(3) == "completed"
            assert len(traces.read_text().splitlines() if traces.exists() else []) <= 1
            thread.check_events()
            assert await daemon.terminate() == 0


async def test_a_server_that_goes_away_with_the_daemon(
    server: StockServer, data_dir: Path, repo: Path, variables: dict[str, str]
) -> None:
    """Events that no server had taken before the kill come first, and none of them twice."""
    thread = Thread(server, repo, "shell", options=dict(FULL))
    done = repo.parent / "done"
    with trio.fail_after(90):
        async with run_daemon_process(server, data_dir, environ=variables) as daemon:
            await succeed(server, unmanaged_spec(thread.environment_id, repo))
            await thread.start("echo first")
            await thread.wait_completed()
            server.fail(
                "session/events", 500, {"code": "internal_error", "message": "x"}, times=999
            )
            row = await server.queue(thread.submit_command(f"echo second; touch {done}; sleep 60"))
            await daemon.poll(done.exists)
            await server.wait_result(row)
            await daemon.kill()
        server.faults.clear()
        assert len(thread.events("turn/started")) == 1
        async with run_daemon_process(server, data_dir, environ=variables) as daemon:
            assert await thread.wait_completed(2) == "interrupted"
            await thread.submit("echo third")
            assert await thread.wait_completed(3) == "completed"
            thread.check_events()
