"""Sessions of the daemon process: start-up, reconnecting, redelivery, leases, dismissal, draining."""

import json
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.fakes.stock_server import StockServer, run_stock_server
from tests.system.daemon.harness import (
    HOST_ID,
    context_of,
    failing_starts,
    git,
    identify,
    run_daemon_process,
    succeed,
    unmanaged_context,
    worktree_spec,
)

pytestmark = pytest.mark.slow
ONE = "env_one"
LIST = {"type": "replay.capture_list"}


def add_setup_script(repo: Path, text: str) -> None:
    (repo / ".bb-env-setup.sh").write_text(text)
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "set-up")


async def test_reconnecting(server: StockServer, data_dir: Path, repo: Path) -> None:
    """Every loss of the link leads to a new session of the same process that lists what it holds."""
    server.environments[ONE] = "ready"
    with trio.fail_after(120):
        async with run_daemon_process(server, data_dir):
            first = server.session
            assert first is not None
            opened = first.opened_with
            assert opened == {
                "hostId": HOST_ID,
                "instanceId": opened["instanceId"],
                "hostName": "test-host",
                "hostType": "persistent",
                "dataDir": str(data_dir),
                "protocolVersion": 26,
                "activeThreads": [],
                "loadedEnvironments": [],
                "openTerminals": [],
            }
            await succeed(server, worktree_spec(data_dir, ONE, repo))

            async def lose(how: Any) -> None:
                before = server.session
                # Queued without a word: the next session fetches it by itself.
                row = await server.queue(LIST, hint=False)
                await how()
                session = await server.wait_connected(other_than=before)
                assert session.instance_id == first.instance_id
                assert session.opened_with["loadedEnvironments"] == [{"environmentId": ONE}]
                assert session.opened_with["hostName"] == "test-host"
                assert (await server.wait_result(row))["ok"]

            await lose(server.expire_session)
            await lose(lambda: server.drop_socket(1008, "inactive-session"))
            await lose(server.close_session_quietly)  # the next request answers inactive_session


async def test_a_server_that_stops_and_comes_back(server: StockServer, data_dir: Path) -> None:
    """After its goodbye it refuses for a while, with final errors too: a daemon that ran goes on."""
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir):
            server.fail("session/open", 500, {"code": "internal_error", "message": "x"})
            server.fail("session/open", 400, {"code": "invalid_request", "message": "x"})
            before = server.session
            await server.drop_socket(1001, "server-shutdown")
            await server.wait_connected(other_than=before)
            assert server.faults == []
            await succeed(server, LIST)


async def test_results_survive_every_fault_of_the_link(
    server: StockServer, data_dir: Path, tmp_path: Path
) -> None:
    """Lost answers, errors and redelivery: each command runs once and is answered truly."""
    internal = {"code": "internal_error", "message": "x"}
    counter = {
        "type": "host.write_file_relative",
        "rootPath": str(tmp_path / "root"),
        "dotfiles": "deny",
        "contentEncoding": "utf8",
    }

    def write(n: int) -> dict[str, Any]:
        return {**counter, "path": f"{n}.txt", "content": str(n)}

    with trio.fail_after(90):
        async with run_daemon_process(server, data_dir):
            server.fail("session/command-result", 500, internal, times=2)
            row = await server.queue(write(1))
            assert (await server.wait_result(row))["ok"]
            server.fail("session/command-result", after=True)  # stored, its answer lost
            row = await server.queue(write(2))
            assert (await server.wait_result(row))["ok"]
            server.fail("session/commands", 0)  # a fetch that breaks off
            row = await server.queue(write(3))
            assert (await server.wait_result(row))["ok"]
            # Twice in one list, and once more in a later one: run once.
            row = await server.queue(write(4), hint=False)
            twin = {"id": row.command_id, "cursor": row.cursor, "command": row.command}
            again = await server.queue(write(4), hint=False, envelope=twin)
            await server.hint()
            assert (await server.wait_result(row))["ok"]
            written = tmp_path / "root" / "4.txt"
            first = written.stat()
            again.state = "settled"  # its id is the other's
            row.state = "pending"
            fetched = row.deliveries
            await server.hint()
            await server.wait(lambda: row.deliveries > fetched)
            await succeed(server, write(5))
            # A second write would have made a new file.
            assert (written.stat().st_ino, written.stat().st_mtime_ns) == (
                first.st_ino,
                first.st_mtime_ns,
            )
            # A result that the server refuses for good: whoever waits is told, and nothing stands
            # behind it.
            server.fail("session/command-result", 400, {"code": "invalid_request", "message": "x"})
            refused = await server.queue(write(6))
            await server.wait(lambda: not server.faults)
            await succeed(server, write(7))
            report = await server.wait_result(refused)
            assert (report["ok"], report["errorCode"]) == (False, "command_failed")
            assert (tmp_path / "root" / "6.txt").exists()


async def test_a_command_under_way_is_not_started_twice(data_dir: Path, repo: Path) -> None:
    """Handed out again while it runs, a command goes on and is answered once."""
    add_setup_script(
        repo, "echo run >> ../../runs; while [ ! -e ../../go ]; do sleep 0.05; done\n"
    )
    async with run_stock_server(
        heartbeat_interval_ms=1000, provision_redelivery_seconds=0.5, sweep_seconds=0.1
    ) as server:
        server.environments[ONE] = "ready"
        with trio.fail_after(60):
            async with run_daemon_process(server, data_dir):
                row = await server.queue(worktree_spec(data_dir, ONE, repo))
                await server.wait(lambda: row.retry_count == 1)
                await server.hint()
                await server.wait(lambda: row.deliveries == 2)
                row.fetched_at = trio.current_time() + 1000  # do not give up on it
                worktrees = data_dir / "worktrees"
                await succeed(server, LIST)
                (worktrees / "go").touch()
                assert (await server.wait_result(row))["ok"]
                assert (worktrees / "runs").read_text() == "run\n"


async def test_commands_are_found_without_a_hint(
    server: StockServer, data_dir: Path, tmp_path: Path
) -> None:
    """A server says nothing when it hands a command out again: whoever does not poll never learns of it."""
    write = {
        "type": "host.write_file_relative",
        "rootPath": str(tmp_path / "root"),
        "path": "one.txt",
        "dotfiles": "deny",
        "content": "1",
        "contentEncoding": "utf8",
    }
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, "--poll-seconds", "0.3"):
            row = await server.queue(LIST, hint=False)
            assert (await server.wait_result(row))["ok"]
            # The answer to the fetch is lost on its way: the command is gone from the queue, until
            # the server puts it there once more.
            server.redelivery_seconds = 0.2
            server.fail("session/commands", after=True)
            row = await server.queue(write, hint=False)
            await server.wait(lambda: row.retry_count == 1)
            server.redelivery_seconds = 60.0
            assert (await server.wait_result(row))["ok"]
            assert (row.deliveries, row.retry_count) == (2, 1)
            assert (tmp_path / "root" / "one.txt").read_text() == "1"


async def test_the_lease_is_kept_by_the_socket_alone(data_dir: Path) -> None:
    """Heartbeats keep a short lease; a daemon that was stopped for longer comes back by itself."""
    async with run_stock_server(
        heartbeat_interval_ms=5000, lease_timeout_ms=2000, sweep_seconds=0.1
    ) as server:
        with trio.fail_after(60):
            async with run_daemon_process(server, data_dir) as daemon:
                session = server.session
                assert session is not None
                # The interval the server asks for is longer than its lease: three a lease all the
                # same, so four beats are more than the lease.
                await server.wait(lambda: session.heartbeats >= 4)
                assert server.session is session
                daemon.process.send_signal(signal.SIGSTOP)
                # Nothing comes any more: the lease runs out, sooner or later.
                session.lease_until = trio.current_time() + 0.2
                await server.wait(lambda: session.status == "expired")
                daemon.process.send_signal(signal.SIGCONT)
                await server.wait_connected(other_than=session)
                await succeed(server, LIST)


async def test_dismissed(server: StockServer, data_dir: Path) -> None:
    """Told to go, it goes with 0; an invalid message is no order."""
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir) as daemon:
            await server.send("not json")
            await server.send({"type": "future.message", "x": 1})
            await server.send({"type": "commands-available", "extra": 1})
            await succeed(server, LIST)
            await server.send({"type": "session-close", "reason": "daemon-disconnect"})
            assert await daemon.wait() == 0


async def test_enrolment(server: StockServer, data_dir: Path) -> None:
    """The first start enrols and keeps who it is; later keys are ignored; contradictions are fatal."""
    code = server.join_code("host_new")

    async def run(*flags: str, **environ: str) -> int:
        async with run_daemon_process(
            server, data_dir, *flags, environ=environ, enrolled=False
        ) as daemon:
            return await daemon.terminate()

    with trio.fail_after(120):
        async with failing_starts(server, data_dir) as starts:
            status, told = await starts.run()
            assert (status, "BB_HOST_ENROLL_KEY" in told) == (78, True)
            status, told = await starts.run("--enroll-key", "bbde_wrong", BB_HOST_ID="host_new")
            assert (status, "401" in told, "Unauthorized" in told) == (1, True, True)
            assert not (data_dir / "auth.json").exists()
            assert not (data_dir / "host-id").exists()
            status, told = await starts.run("--server-url", " ")
            assert (status, "BB_SERVER_URL" in told) == (78, True)
            status, told = await starts.run("--enroll-key", code, BB_HOST_TYPE="ephemeral")
            assert (status, "ephemeral" in told) == (78, True)
            # The server answers after all, but not with what an enrolment is answered with.
            server.fail("hosts/enroll", 500, b"<html>" + b"x" * 300)
            status, told = await starts.run("--enroll-key", code, BB_HOST_ID="host_new")
            assert (status, "500 <html>xxx" in told, "x" * 200 in told) == (1, True, False)

            environ = {"BB_HOST_ENROLL_KEY": code, "BB_HOST_NAME": "ignored", "BB_HOST_TYPE": " "}
            assert await run(BB_HOST_ID="host_new", **environ) == 0
            for name in ("host-id", "auth.json"):
                assert stat.S_IMODE((data_dir / name).stat().st_mode) == 0o600
            assert (data_dir / "host-id").read_text() == "host_new\n"
            auth = (data_dir / "auth.json").read_text()
            assert auth == json.dumps(json.loads(auth), indent=2) + "\n"
            assert json.loads(auth).keys() == {"hostId", "hostKey", "hostType"}
            assert server.sessions[-1].opened_with["hostName"] == "test-host"
            assert await run("--enroll-key", "used") == 0

            status, told = await starts.run(BB_HOST_ID="host_other")
            assert (status, "host_other" in told, "host_new" in told) == (78, True, True)
            for wrong in (
                auth.replace("host_new", "host_third"),
                auth.replace("persistent", "ephemeral"),
                auth.replace("hostKey", "key"),
                "no json",
            ):
                (data_dir / "auth.json").write_text(wrong)
                status, told = await starts.run()
                assert (status, "auth.json" in told) == (78, True), wrong


async def test_a_start_that_cannot_succeed(server: StockServer, data_dir: Path) -> None:
    """A final refusal ends the start at once, silence after a while; both with 1 and a reason."""
    identify(server, data_dir)
    with trio.fail_after(120):
        async with failing_starts(server, data_dir) as starts:
            server.protocol_version = 27
            status, told = await starts.run()
            assert (status, "26" in told, "27" in told) == (1, True, True)
            server.protocol_version = 26
            keys, server.host_keys = server.host_keys, {}
            status, told = await starts.run()
            assert (status, "unauthorized" in told) == (1, True)
            server.host_keys = keys
            server.fail("session/open", 403, {"code": "invalid_request", "message": "not yours"})
            status, told = await starts.run()
            assert (status, "not yours" in told) == (1, True)
            server.refuses_sockets = True
            status, told = await starts.run("--start-up-seconds", "0.5")
            assert (status, "within" in told) == (1, True)
        # A server that comes a little later is waited for, whatever it answers until then.
        server.fail("session/open", 503, {"code": "internal_error", "message": "x"})
        async with run_daemon_process(server, data_dir, connected=False) as daemon:
            await server.wait(
                lambda: server.requests.count(("POST", "/internal/session/open")) > 8
            )
            server.refuses_sockets = False
            await server.wait_connected()
            assert await daemon.terminate() == 0


async def test_a_graceful_stop_finishes_what_runs(
    server: StockServer, data_dir: Path, repo: Path
) -> None:
    """After SIGTERM nothing new is fetched; what runs ends, and its result and events are delivered."""
    add_setup_script(repo, "touch ../../started; while [ ! -e ../../go ]; do sleep 0.05; done\n")
    server.environments[ONE] = "ready"
    server.threads["thr_1"] = ONE
    initiator = {"threadId": "thr_1", "provisioningId": "prov_1"}
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, "--drain-seconds", "20") as daemon:
            row = await server.queue(worktree_spec(data_dir, ONE, repo, initiator=initiator))
            worktrees = data_dir / "worktrees"
            await daemon.poll(lambda: (worktrees / "started").exists())
            daemon.process.send_signal(signal.SIGTERM)
            await daemon.poll(lambda: "stopping" in daemon.log_text())
            late = await server.queue(LIST)
            (worktrees / "go").touch()
            assert (await server.wait_result(row))["ok"]
            assert await daemon.wait() == 0
            assert late.state == "pending"
            assert server.events[-1]["event"]["entries"][0]["key"] == "workspace-branch"
        async with run_daemon_process(server, data_dir) as daemon:
            assert (await server.wait_result(late))["ok"]  # still there for the next one
            daemon.process.send_signal(signal.SIGINT)
            assert await daemon.wait() == 0


async def test_lists_at_session_open(server: StockServer, data_dir: Path, repo: Path) -> None:
    """With the longer list of a newer server: an environment it does not name is released."""
    server.environments[ONE] = "ready"
    server.sends_live_list = True
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir) as daemon:
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            del server.environments[ONE]
            await server.drop_socket()
            await server.wait_connected()

            async def released() -> bool:
                return "ready" not in (await daemon.control("GET", "/status"))["environments"]

            await daemon.poll(released)
            context = context_of(data_dir, ONE, repo)
            assert Path(context["workspacePath"]).is_dir()
            # An id that the server does not list is not attached either.
            status = {"type": "workspace.status", "environmentId": "env_x"}
            report = await server.run_command(
                {**status, "workspaceContext": unmanaged_context(repo)}
            )
            assert report["errorCode"] == "environment_destroyed"
