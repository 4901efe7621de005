"""Agents that say too much, and many of them at once, through the real daemon."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.fakes.stock_server import StockServer, run_stock_server
from tests.system.daemon.harness import (
    make_repository,
    resident_kib,
    run_daemon_process,
    succeed,
    unmanaged_context,
    unmanaged_spec,
)
from tests.system.daemon.threads import FULL, Thread, agents_of, write_config

TURN_CHARACTERS = 16 * 1024 * 1024
"""Of deltas that one turn may pass on."""
GROWTH_KIB = 80 * 1024
"""What a flood may add to the daemon's memory at its peak: the longest line, what waits to be stored and sent."""
THREADS = 50
EVENTS = [
    "thread/started",
    "thread/identity",
    "turn/started",
    "turn/input/accepted",
    "item/started",
    "item/agentMessage/delta",
    "item/completed",
    "turn/input/accepted",
    "item/started",
    "item/agentMessage/delta",
    "item/completed",
    "thread/tokenUsage/updated",
    "thread/contextWindowUsage/updated",
    "turn/completed",
]


@pytest.fixture
async def server() -> AsyncIterator[StockServer]:
    """One that is as patient as the stock server: what is tried here takes its time."""
    async with run_stock_server(heartbeat_interval_ms=1000) as server:
        yield server


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """Variables with which a daemon knows the scripted agents."""
    return write_config(tmp_path / "config.toml")


@pytest.mark.parametrize(
    ("provider", "prompt"),
    [
        ("codex", "flood {}"),
        ("acp", "flood {}"),
        ("shell", "head -c {}m /dev/zero | tr '\\0' x"),
    ],
    ids=["codex", "acp", "command"],
)
@pytest.mark.parametrize(
    "megabytes",
    [pytest.param(20, marks=pytest.mark.slow), pytest.param(200, marks=pytest.mark.long)],
)
async def test_a_flood(
    server: StockServer,
    data_dir: Path,
    repo: Path,
    variables: dict[str, str],
    megabytes: int,
    provider: str,
    prompt: str,
) -> None:
    """Memory stays bounded, others are answered meanwhile, the session holds, and the turn ends well."""
    other = make_repository(repo.parent / "other")
    server.environments["env_other"] = "ready"
    thread = Thread(server, repo, provider, options=dict(FULL))
    with trio.fail_after(400):
        async with run_daemon_process(server, data_dir, environ=variables) as daemon:
            await succeed(server, unmanaged_spec(thread.environment_id, repo))
            await succeed(server, unmanaged_spec("env_other", other))
            about = {"environmentId": "env_other", "workspaceContext": unmanaged_context(other)}
            await thread.start("echo calm" if provider == "shell" else "say calm")
            await thread.wait_completed()
            before, answered, said = resident_kib(daemon, "VmHWM"), 0, len(thread.text())
            await thread.submit(prompt.format(megabytes))
            while len(thread.events("turn/completed")) < 2:
                (other / "file.txt").write_text(f"{answered}\n")
                status = await succeed(server, {"type": "workspace.status", **about})
                assert status["workspaceStatus"]["workingTree"]["state"] == "dirty_uncommitted"
                answered += 1
            assert await thread.wait_completed(2) == "completed"
            assert resident_kib(daemon, "VmHWM") - before < GROWTH_KIB
            assert answered > 1
            assert server.session is not None
            assert len(server.sessions) == 1, daemon.log_text()
            heartbeats = server.session.heartbeats
            await server.wait(lambda: server.session.heartbeats > heartbeats)
            thread.check_events()
            assert 0 < len(thread.text()) - said <= TURN_CHARACTERS
            await thread.submit("echo after" if provider == "shell" else "say after")
            assert await thread.wait_completed(3) == "completed"
            assert await daemon.terminate() == 0


@pytest.mark.slow
async def test_fifty_threads_are_active_at_once(
    server: StockServer, data_dir: Path, repo: Path, variables: dict[str, str]
) -> None:
    """In fifty environments: each one's events arrive complete and in order, and nothing is left."""
    threads = [
        Thread(
            server,
            make_repository(repo.parent / f"repo{number}"),
            thread_id=f"thr_{number}",
            environment_id=f"env_{number}",
        )
        for number in range(THREADS)
    ]

    async def begin(thread: Thread) -> None:
        await succeed(server, unmanaged_spec(thread.environment_id, thread.path))
        await thread.start("wait")
        await thread.wait_text("waiting")

    async def finish(thread: Thread) -> None:
        target = {"mode": "steer", "expectedTurnId": thread.turn_id()}
        assert await thread.submit(f"be {thread.thread_id}", target=target) == "steer"
        assert await thread.wait_completed() == "completed"

    with trio.fail_after(300):
        async with run_daemon_process(server, data_dir, environ=variables) as daemon:
            async with trio.open_nursery() as nursery:
                for thread in threads:
                    nursery.start_soon(begin, thread)
            assert not any(thread.events("turn/completed") for thread in threads)
            assert len(agents_of(data_dir.parent)) == 1  # one command line, of all of them
            async with trio.open_nursery() as nursery:
                for thread in threads:
                    nursery.start_soon(finish, thread)
            for thread in threads:
                assert [one["type"] for one in thread.events()] == EVENTS
                assert thread.text() == f"waitingsteered: be {thread.thread_id}"
                thread.check_events()
            assert len(server.sessions) == 1
            assert await daemon.terminate() == 0
        assert agents_of(data_dir.parent) == set()
