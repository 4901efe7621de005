"""Health, metrics, doctor, gc, rescue and reload over the control socket of a real daemon."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.fakes.stock_server import StockServer
from tests.system.daemon.harness import (
    DaemonProcess,
    context_of,
    run_daemon_process,
    worktree_spec,
)

pytestmark = pytest.mark.slow
ONE = "env_one"


async def ask(
    daemon: DaemonProcess, method: str, path: str, body: dict[str, Any] | None = None
) -> tuple[int, str]:
    """Ask the control socket; returns status and body."""
    content = json.dumps(body or {}).encode()
    stream = await trio.open_unix_socket(daemon.data_dir / "run" / "control.sock")
    async with stream:
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        head += f"content-length: {len(content)}\r\n\r\n"
        await stream.send_all(head.encode() + content)
        answer = b"".join([chunk async for chunk in stream])
    first, _, rest = answer.partition(b"\r\n")
    return int(first.split()[1]), rest.partition(b"\r\n\r\n")[2].decode()


async def test_looking_after_a_daemon(server: StockServer, data_dir: Path, repo: Path) -> None:
    """One daemon, every route: what they say is true, and wrong requests are answered as such."""
    context = context_of(data_dir, ONE, repo)
    workspace = Path(context["workspacePath"])
    server.environments[ONE] = "ready"
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir) as daemon:
            assert (await server.run_command(worktree_spec(data_dir, ONE, repo)))["ok"]
            status, text = await ask(daemon, "GET", "/health")
            health = json.loads(text)
            assert (status, health["health"], health["reasons"]) == (200, "ok", [])

            status, metrics = await ask(daemon, "GET", "/metrics")
            assert status == 200
            assert_metrics(metrics)
            assert 'bbhost_environments{state="ready"} 1' in metrics
            assert 'from="provisioning",to="ready",outcome="provisioned"} 1' in metrics
            assert 'bbhost_git_seconds_count{verb="worktree"} 1' in metrics
            assert ONE not in metrics

            report = json.loads((await ask(daemon, "GET", "/doctor"))[1])
            assert report["byDaemon"]
            bad = [f for f in report["findings"] if f["severity"] in {"warning", "error"}]
            assert bad == []
            assert report["exitCode"] == 0

            (workspace / "new.txt").write_text("work\n")
            destroy = {
                "type": "environment.destroy",
                "environmentId": ONE,
                "workspaceContext": context,
            }
            assert (await server.run_command(destroy))["ok"]
            (listed,) = json.loads((await ask(daemon, "GET", "/rescues"))[1])["rescues"]
            assert listed["environmentId"] == ONE
            status, text = await ask(daemon, "GET", f"/rescues/show?name={ONE}")
            assert json.loads(text)["files"]["worktree"] == [{"path": "new.txt", "status": "A"}]
            target = str(data_dir.parent / "back")
            status, text = await ask(
                daemon, "POST", "/rescues/restore", {"name": ONE, "target": target}
            )
            assert (status, json.loads(text)["written"]) == (200, ["new.txt"])
            assert (await ask(daemon, "POST", "/rescues/drop", {"name": ONE}))[0] == 200
            assert (await ask(daemon, "POST", "/rescues/drop", {"name": ONE}))[0] == 404

            status, text = await ask(daemon, "POST", "/gc")
            assert json.loads(text)["dryRun"] is True
            for path, body in (
                ("/gc", {"dryRun": "no"}),
                ("/gc", {"includeUnclear": "x"}),
                ("/rescues/restore", {"name": 1}),
            ):
                assert (await ask(daemon, "POST", path, body))[0] == 400
            assert (await ask(daemon, "GET", "/doctor?deadline=never"))[0] == 400
            assert (await ask(daemon, "GET", "/gc"))[0] == 405
            assert (await ask(daemon, "GET", "/nothing"))[0] == 404
            status, text = await ask(daemon, "POST", "/reload")
            assert (status, json.loads(text)["error"]) == (200, "")
            assert await daemon.terminate() == 0


def assert_metrics(text: str) -> None:
    """Every line is of the format, every sample has its type, and names follow the conventions."""
    types: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            types[name] = kind
        elif not line.startswith("#"):
            match = re.fullmatch(
                r'([a-z_]+)(\{[a-z_]+="[^"]*"(?:,[a-z_]+="[^"]*")*\})? (-?[0-9.]+)', line
            )
            assert match, line
            family = re.sub(r"_(bucket|sum|count)$", "", match[1])
            assert match[1] in types or types.get(family) == "histogram", line
            if types.get(match[1]) == "counter":
                assert match[1].endswith("_total"), line
    for name in (
        "bbhost_inotify_watches",
        "bbhost_inotify_instances",
        "bbhost_orphans_reaped_total",
        "bbhost_loop_lag_seconds",
        "process_open_fds",
        "process_resident_memory_bytes",
    ):
        assert name in types


async def test_a_busy_daemon_is_examined(server: StockServer, data_dir: Path, repo: Path) -> None:
    """While it provisions and answers without a pause, the doctor answers within its deadline."""
    context = context_of(data_dir, ONE, repo)
    server.environments[ONE] = "ready"
    status = {"type": "workspace.status", "environmentId": ONE, "workspaceContext": context}
    with trio.fail_after(90):
        async with run_daemon_process(server, data_dir) as daemon:
            assert (await server.run_command(worktree_spec(data_dir, ONE, repo)))["ok"]
            async with trio.open_nursery() as work:

                async def keep_busy(number: int) -> None:
                    path = Path(context["workspacePath"]) / f"busy-{number}"
                    while True:
                        path.write_text(str(trio.current_time()))
                        await server.run_command(status)

                async def provision(number: int) -> None:
                    name = f"env_more{number}"
                    server.environments[name] = "ready"
                    await server.run_command(worktree_spec(data_dir, name, repo))

                for number in range(4):
                    work.start_soon(keep_busy, number)
                for number in range(10):
                    work.start_soon(provision, number)
                began = trio.current_time()
                answers = [json.loads((await ask(daemon, "GET", "/doctor"))[1]) for _ in range(3)]
                assert trio.current_time() - began < 3 * 15
                work.cancel_scope.cancel()
            for report in answers:
                assert [f for f in report["findings"] if f["severity"] == "error"] == []
                assert {f["check"] for f in report["findings"]} >= {
                    "watches",
                    "owners",
                    "worktrees",
                }


async def test_health_says_that_the_server_is_gone(server: StockServer, data_dir: Path) -> None:
    """Degraded, with the reason; and a loop that was stopped is late and says so."""
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir) as daemon:
            daemon.process.send_signal(signal.SIGSTOP)
            await trio.sleep(5)
            daemon.process.send_signal(signal.SIGCONT)

            async def was_late() -> bool:
                return json.loads((await ask(daemon, "GET", "/health"))[1])["health"] != "ok"

            await daemon.poll(was_late)
            health = json.loads((await ask(daemon, "GET", "/health"))[1])
            assert health["loopLagSeconds"] > 1
            assert any("the event loop was" in reason for reason in health["reasons"])


async def test_hangup_reads_the_configuration_again(server: StockServer, data_dir: Path) -> None:
    """SIGHUP applies what can be applied, names what cannot, and ends nothing."""
    settings = data_dir.parent / "config.toml"
    settings.write_text('log_level = "error"\n')
    with trio.fail_after(30):
        async with run_daemon_process(
            server, data_dir, environ={"BBHOST_CONFIG": str(settings)}
        ) as daemon:
            settings.write_text('log_level = "info"\nwatch_share = 0.25\n')
            daemon.process.send_signal(signal.SIGHUP)
            await daemon.poll(lambda: "configuration read again" in daemon.log_text())
            (line,) = [
                e for e in daemon.log_entries() if e["message"] == "configuration read again"
            ]
            assert line["applied"] == ["log_level"]
            assert line["needs_restart"] == ["watch_share"]
            assert await daemon.terminate() == 0


CONNECT = """
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
s.sendall(b"POST /stop HTTP/1.1\\r\\nhost: x\\r\\ncontent-length: 0\\r\\nconnection: close\\r\\n\\r\\n")
print(s.recv(100).decode())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
async def test_another_user_is_refused(server: StockServer, data_dir: Path) -> None:
    """By the directory's mode; and, where somebody opens that, by the peer's user id."""
    with trio.fail_after(30):
        async with run_daemon_process(server, data_dir) as daemon:
            socket = data_dir / "run" / "control.sock"
            assert socket.parent.stat().st_mode & 0o077 == 0
            assert socket.stat().st_mode & 0o077 == 0

            def connect() -> subprocess.CompletedProcess[str]:
                return subprocess.run(
                    ["/usr/bin/python3", "-c", CONNECT, "control.sock"],
                    user=65534,
                    group=65534,
                    extra_groups=[],
                    cwd=socket.parent,
                    capture_output=True,
                    text=True,
                    check=False,
                )

            assert "Permission" in (await trio.to_thread.run_sync(connect)).stderr
            socket.parent.chmod(0o755)
            socket.chmod(0o666)
            answer = await trio.to_thread.run_sync(connect)
            assert "403" in answer.stdout, answer.stderr
            assert (await ask(daemon, "GET", "/version"))[0] == 200
            assert sys.platform == "linux"
