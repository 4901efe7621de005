"""A restart in the middle of everything: no result, no event and no byte of a terminal is lost or doubled."""

import base64
import re
from pathlib import Path

import pytest
import trio

from tests.fakes.service_manager import ServiceManager
from tests.fakes.stock_server import StockServer
from tests.system.daemon.harness import context_of, succeed, unmanaged_spec, worktree_spec
from tests.system.daemon.test_restart import manager, replay_of, run_service  # noqa: F401 - a fixture
from tests.system.daemon.test_terminals import Terminal
from tests.system.daemon.threads import FULL, Thread, write_config

pytestmark = pytest.mark.slow
ONE = "env_one"
COMMANDS = 60
COUNTING = "i=0; until [ -e enough ]; do echo line-$i.; i=$((i+1)); done; echo all-''said\r"


def numbers(pattern: str, text: str) -> list[int]:
    return [int(found) for found in re.findall(pattern, text)]


async def test_a_restart_under_load(
    manager: ServiceManager,  # noqa: F811
    server: StockServer,
    data_dir: Path,
    repo: Path,
    tmp_path: Path,
) -> None:
    """Commands in flight, an agent that talks and a terminal that prints, while the daemon restarts."""
    variables = write_config(tmp_path / "config.toml")
    server.environments[ONE] = "ready"
    server.redelivery_seconds = 60.0
    thread = Thread(
        server, repo, "shell", thread_id="thr_1", environment_id="env_own", options=dict(FULL)
    )
    context = context_of(data_dir, ONE, repo)
    terminal = Terminal(server, "term_1", context)
    empty = tmp_path / "empty"
    empty.mkdir()
    with trio.fail_after(240):
        async with run_service(manager, server, data_dir, **variables) as daemon:
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            await succeed(server, unmanaged_spec("env_own", repo))
            assert (await terminal.open())["type"] == "terminal.opened"
            await thread.start("i=0; while :; do echo say-$i.; i=$((i+1)); done")
            await thread.wait_text("say-9.")
            await terminal.type(COUNTING)
            await terminal.shows("line-99.")
            rows = [
                await server.queue(
                    {"type": "host.list_files", "path": str(empty), "limit": 10}
                    if number % 2
                    else {
                        "type": "workspace.status",
                        "environmentId": ONE,
                        "workspaceContext": context,
                    }
                )
                for number in range(COMMANDS)
            ]
            await rows[3].settled.wait()
            manager.set_job("restart")
            assert await daemon.terminate() == 0
        before = {
            one["chunk"]["seq"]: base64.b64decode(one["chunk"]["dataBase64"])
            for one in terminal.all("output")
        }
        async with run_service(manager, server, data_dir, **variables) as daemon:
            for row in rows:
                assert (await server.wait_result(row))["ok"], row
            assert await thread.wait_completed() == "interrupted"
            await thread.submit("echo on")
            assert await thread.wait_completed(2) == "completed"
            Path(context["workspacePath"], "enough").touch()
            await server.wait(
                lambda: any(
                    b"all-said" in base64.b64decode(one["chunk"]["dataBase64"])
                    for one in terminal.all("output")
                )
            )
            seqs, text, next_seq = await replay_of(terminal)
            assert await daemon.terminate() == 0

    # Results: one for each command, whichever daemon ran it.
    settled = [one for one in server.settled_order if one in {row.command_id for row in rows}]
    assert sorted(settled) == sorted({row.command_id for row in rows})

    # Events: every turn begins and ends once, and what the agent said has no gap and comes once.
    thread.check_events()
    said = numbers(r"say-(\d+)\.", thread.text())
    assert said == list(range(len(said)))
    assert len(server.events) == len({one["producerEventId"] for one in server.events})

    # The terminal: numbers go on, what both daemons sent is the same, and every line is there once.
    assert seqs == list(range(seqs[0], next_seq))
    after = {
        one["chunk"]["seq"]: base64.b64decode(one["chunk"]["dataBase64"])
        for one in terminal.all("output")
    }
    assert after | before == after
    lines = numbers(r"line-(\d+)\.\r\n", text.decode())
    assert lines == list(range(lines[0], lines[-1] + 1)), "the scrollback has a gap"
    assert lines[0] == 0 or len(text) > 4_000_000
    told_before = numbers(r"line-(\d+)\.\r\n", b"".join(before.values()).decode())
    assert 99 <= told_before[-1] < lines[-1], "it went on printing"
