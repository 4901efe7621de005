"""Threads through the daemon process: every command a server sends about them, with real agents."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.fakes.stock_server import StockServer
from tests.system.daemon.harness import (
    refuse,
    run_daemon_process,
    succeed,
    unmanaged_spec,
)
from tests.system.daemon.threads import (
    FULL,
    ONE,
    THREAD,
    Thread,
    accepted_requests,
    agent_pids,
    agents_of,
    write_config,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """Variables with which a daemon knows the scripted agents."""
    return write_config(tmp_path / "config.toml")


async def provision(server: StockServer, thread: Thread) -> None:
    """Make the environment of a thread known."""
    await succeed(server, unmanaged_spec(thread.environment_id, thread.path))


async def test_a_conversation_with_codex(
    server: StockServer, data_dir: Path, repo: Path, variables: dict[str, str]
) -> None:
    """Start, submit, steer, a stale id, and auto: results and events as a stock server wants them."""
    thread = Thread(server, repo)
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, environ=variables) as daemon:
            await provision(server, thread)
            assert await thread.start("say hello") == "thr_1"
            assert await thread.wait_completed() == "completed"
            assert [event["type"] for event in thread.events()] == [
                "thread/started",
                "thread/identity",
                "turn/started",
                "turn/input/accepted",
                "item/started",
                "item/agentMessage/delta",
                "item/completed",
                "thread/tokenUsage/updated",
                "thread/contextWindowUsage/updated",
                "turn/completed",
            ]
            assert await thread.submit("wait") == "new-turn"
            await thread.wait_text("waiting")
            turn = thread.turn_id()
            auto = {"mode": "auto", "expectedTurnId": turn}
            assert await thread.submit("quick", target=auto) == "steer"
            assert await thread.wait_completed(2) == "completed"
            assert "steered: quick" in thread.text()
            stale = {"mode": "steer", "expectedTurnId": turn}
            assert await thread.submit("say stale", target=stale) == "new-turn"
            assert await thread.wait_completed(3) == "completed"
            nobody = {"mode": "auto", "expectedTurnId": None}
            assert await thread.submit("say nobody", target=nobody) == "new-turn"
            assert await thread.wait_completed(4) == "completed"
            assert len(accepted_requests(thread)) == 5
            thread.check_events()
            assert await daemon.terminate() == 0
    assert agents_of(data_dir.parent) == set()


async def test_approvals_and_tools(
    server: StockServer, data_dir: Path, repo: Path, variables: dict[str, str]
) -> None:
    """A question waits for its answer, late answers are told apart, a tool is the server's to run."""
    thread = Thread(server, repo)
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, environ=variables):
            await provision(server, thread)
            await thread.start("approve")
            question = await thread.wait_question()
            assert question["payload"]["subject"]["command"] == "make test"
            allow = thread.resolve_command(
                {"decision": "allow_for_session", "grantedPermissions": None}
            )
            wrong = {**allow, "interactionId": "pint_other"}
            await refuse(server, wrong, "interactive_request_mismatch")
            assert await succeed(server, allow) == {}
            assert await thread.wait_completed() == "completed"
            assert "decision acceptForSession" in thread.text()
            assert await succeed(server, allow) == {}
            stale = {**allow, "providerRequestId": "unknown:1"}
            await refuse(server, stale, "stale_interactive_request")

            await thread.submit("tool hi")
            assert await thread.wait_completed(2) == "completed"
            (call,) = server.tool_calls
            assert (call["tool"], call["arguments"]) == ("message_user", {"text": "hi"})
            assert call["turnId"] == thread.turn_id()
            assert "Message delivered" in thread.text()
            thread.check_events()


async def test_an_answer_survives_a_reconnect(
    server: StockServer, data_dir: Path, repo: Path, variables: dict[str, str]
) -> None:
    """The link breaks while a turn waits for a person: the thread is listed, the answer arrives."""
    thread = Thread(server, repo)
    server.interaction_grace_seconds = 60.0
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, environ=variables):
            await provision(server, thread)
            await thread.start("approve")
            await thread.wait_question()
            session = server.session
            await server.drop_socket()
            opened = (await server.wait_connected(other_than=session)).opened_with
            assert [one["threadId"] for one in opened["activeThreads"]] == [THREAD]
            assert await succeed(server, thread.resolve_command({"decision": "deny"})) == {}
            assert await thread.wait_completed() == "completed"
            assert "decision decline" in thread.text()
            thread.check_events()


async def test_a_question_that_was_interrupted_during_an_outage(
    server: StockServer, data_dir: Path, repo: Path, variables: dict[str, str]
) -> None:
    """The server gives it up and tells nobody: the agent does not wait for ever, and the turn ends."""
    thread = Thread(server, repo)
    server.interaction_grace_seconds = 0.1
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, environ=variables):
            await provision(server, thread)
            await thread.start("approve")
            await thread.wait_question()
            session = server.session
            server.refuses_sockets = True
            await server.drop_socket()
            (question,) = server.interactions.values()
            await server.wait(lambda: question["status"] == "interrupted")
            server.refuses_sockets = False
            await server.wait_connected(other_than=session)
            assert await thread.wait_completed() == "interrupted"
            assert await thread.submit("say back") == "new-turn"
            assert await thread.wait_completed(2) == "completed"
            thread.check_events()


async def test_a_turn_goes_on_while_the_link_is_down(
    server: StockServer, data_dir: Path, repo: Path, variables: dict[str, str]
) -> None:
    """What an agent says meanwhile is told afterwards, complete and in order."""
    thread = Thread(server, repo, "shell", options=dict(FULL))
    go = repo.parent / "go"
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, environ=variables):
            await provision(server, thread)
            await thread.start(
                f"echo begun; while ! [ -e {go} ]; do sleep 0.05; done; "
                "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done"
            )
            await thread.wait_text("begun")
            session = server.session
            server.refuses_sockets = True
            await server.drop_socket()
            go.touch()
            server.refuses_sockets = False
            opened = (await server.wait_connected(other_than=session)).opened_with
            assert opened["activeThreads"] in ([{"threadId": THREAD}], [])
            assert await thread.wait_completed() == "completed"
            lines = thread.text().splitlines()
            assert lines == ["begun", *(f"line {number}" for number in range(300))]
            thread.check_events()


async def test_an_environment_is_retired_when_its_turn_has_ended(
    server: StockServer, data_dir: Path, repo: Path, variables: dict[str, str]
) -> None:
    """The server has forgotten it while a turn runs: the turn goes on, then the environment is let go."""
    thread = Thread(server, repo)
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, environ=variables) as daemon:

            async def is_held() -> bool:
                status = await daemon.control("GET", "/status")
                return ONE in str(status["environmentList"])

            async def is_let_go() -> bool:
                return not await is_held()

            await provision(server, thread)
            await thread.start("wait")
            await thread.wait_text("waiting")
            server.environments[ONE] = "destroyed"
            session = server.session
            await server.drop_socket()
            await server.wait_connected(other_than=session)
            # The list was taken when another environment's command has been carried out after it.
            await succeed(server, unmanaged_spec("env_other", repo.parent))
            assert await is_held()
            assert len(agents_of(data_dir.parent)) == 1
            await thread.stop()
            assert await thread.wait_completed() == "interrupted"
            await daemon.poll(is_let_go)
            assert (repo / "d0").is_dir()
            thread.check_events()
        assert agents_of(data_dir.parent) == set()


async def test_a_conversation_over_acp(
    server: StockServer, data_dir: Path, repo: Path, variables: dict[str, str]
) -> None:
    """An agent on the ACP SDK: files within the workspace only, a question, an interruption, a resume."""
    thread = Thread(server, repo, "acp")
    with trio.fail_after(90):
        async with run_daemon_process(server, data_dir, environ=variables):
            await provision(server, thread)
            await thread.start(f"write {repo}/made.txt by the agent")
            assert await thread.wait_completed() == "completed"
            assert (repo / "made.txt").read_text() == "by the agent"
            await thread.submit(f"read {repo}/made.txt")
            await thread.submit("read /etc/hostname")
            await thread.wait_completed(3)
            assert "read by the agent" in thread.text()
            assert "refused" in thread.text()
            await thread.submit("ask")
            await thread.wait_question()
            allow = {"decision": "allow_once", "grantedPermissions": None}
            await succeed(server, thread.resolve_command(allow))
            await thread.wait_completed(4)
            assert "outcome selected y" in thread.text()
            await thread.submit("wait")
            await thread.wait_text("waiting")
            await thread.stop()
            assert await thread.wait_completed(5) == "interrupted"
            assert agents_of(data_dir.parent) == set()
            assert await thread.submit("hello again") == "new-turn"
            assert await thread.wait_completed(6) == "completed"
            assert {one["providerThreadId"] for one in thread.events("thread/identity")} == {
                thread.provider_thread_id
            }
            thread.check_events()


async def test_stop_rename_archive_and_deleted(
    server: StockServer, data_dir: Path, repo: Path, variables: dict[str, str]
) -> None:
    """The rest of a thread's life; on a thread that nobody has, a clean answer and nothing made."""
    thread = Thread(server, repo)
    storage = data_dir / "thread-storage" / THREAD
    archive: dict[str, Any] = {
        "workspaceContext": thread.workspace,
        "providerId": "codex",
        "providerThreadId": "thr_1",
    }
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, environ=variables) as daemon:
            await refuse(server, thread.command("thread.stop"), "unknown_environment")
            assert await succeed(server, thread.command("thread.rename", title="x")) == {}
            assert await succeed(server, thread.command("thread.deleted")) == {}
            assert (await daemon.control("GET", "/status"))["environmentList"] == []
            await provision(server, thread)
            await thread.stop()
            await thread.start("wait", threadStoragePath=str(storage))
            await thread.wait_text("waiting")
            assert storage.is_dir()
            assert await succeed(server, thread.command("thread.rename", title="A title")) == {}
            await server.wait(lambda: thread.events("thread/name/updated"))
            assert thread.events("thread/name/updated")[0]["threadName"] == "A title"
            await thread.stop()
            # The server has been told of the end before the result of the stop.
            assert thread.events("turn/completed")[0]["status"] == "interrupted"
            assert agents_of(data_dir.parent) == set()
            assert thread.events("system/error") == []
            await thread.stop()
            await succeed(server, thread.command("thread.archive", **archive))
            methods = [
                json.loads(line).get("method")
                for line in (data_dir.parent / "codex.log").read_text().splitlines()
            ]
            assert "thread/archive" in methods
            await refuse(
                server,
                thread.command("thread.archive", **{**archive, "providerId": "acp"}),
                "command_failed",
            )
            unarchive = {"type": "thread.unarchive", "threadId": THREAD, **archive}
            del unarchive["workspaceContext"]
            assert await succeed(server, unarchive) == {}
            assert await succeed(server, thread.command("thread.deleted")) == {}
            assert not storage.exists()
            assert agents_of(data_dir.parent) == set()
            thread.check_events()


async def test_providers_and_models(
    server: StockServer, data_dir: Path, repo: Path, variables: dict[str, str]
) -> None:
    """What is there is told truly; unknown providers and missing programs are told apart."""
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, environ=variables):
            listed = (await succeed(server, {"type": "provider.list"}))["providers"]
            known = {one["id"]: one["available"] for one in listed}
            assert known["codex"] is True
            assert known["missing"] is False
            assert {"claude-code", "pi", "gemini"} <= set(known)
            ask = {"type": "provider.list_models", "providerId": "codex"}
            models = await succeed(server, ask)
            assert [one["id"] for one in models["models"]] == ["m1"]
            await refuse(server, {**ask, "providerId": "nobody"}, "unknown_provider")
            await refuse(server, {**ask, "providerId": "missing"}, "missing_executable")
            thread = Thread(server, repo, "missing")
            await provision(server, thread)
            await refuse(server, thread.start_command("x"), "missing_executable")
            thread.provider = "nobody"
            await refuse(server, thread.start_command("x"), "unknown_provider")
            assert thread.events() == []


async def test_attachments(
    server: StockServer, data_dir: Path, repo: Path, variables: dict[str, str]
) -> None:
    """Uploads are staged in the thread's storage; one that cannot be had leaves nothing."""
    thread = Thread(server, repo, "shell", options=dict(FULL))
    server.attachments = {"up_1": (b"some text", "text/plain"), "up_2": (b"\x89PNG", "image/png")}
    storage = data_dir / "thread-storage" / THREAD / "runtime-attachments"
    text = {"type": "localFile", "path": "up_1", "name": "a b.txt", "sizeBytes": 9}
    image = {"type": "localImage", "path": "up_2"}
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, environ=variables):
            await provision(server, thread)
            command = thread.start_command("true", text, image)
            await succeed(server, command)
            await thread.wait_completed()
            staged = storage / command["requestId"]
            assert sorted(one.name for one in staged.iterdir()) == ["001-a-b.txt", "002-up_2"]
            assert (staged / "001-a-b.txt").read_bytes() == b"some text"
            assert (staged / "001-a-b.txt").stat().st_mode & 0o777 == 0o600
            for bad in ({**text, "path": "up_gone"}, {**text, "sizeBytes": 8}):
                again = thread.start_command("true", text, bad)
                await refuse(server, again, "attachment_unavailable")
                assert not (storage / again["requestId"]).exists()


async def test_an_agent_that_crashes(
    server: StockServer, data_dir: Path, repo: Path, variables: dict[str, str]
) -> None:
    """The turn fails first, then the process is told to have exited, with the last it wrote."""
    thread = Thread(server, repo)
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, environ=variables) as daemon:
            await provision(server, thread)
            await thread.start("crash")
            await server.wait(lambda: thread.events("system/error"))
            assert [event["type"] for event in thread.events()[-2:]] == [
                "turn/completed",
                "system/error",
            ]
            assert thread.events("turn/completed")[0]["status"] == "failed"
            error = thread.events("system/error")[0]
            assert error["code"] == "provider_process_exited"
            assert error["detail"].startswith("stderr:\nxxx")
            assert error["detail"].endswith("the end\n")
            assert len(error["detail"]) <= len("stderr:\n") + 4000
            assert "sk-configured-secret" not in json.dumps(thread.events())
            assert "sk-configured-secret" not in daemon.log_text()
            assert await thread.submit("say back") == "new-turn"
            assert await thread.wait_completed(2) == "completed"
            thread.check_events()


async def test_an_agent_that_dies_with_a_question(
    server: StockServer, data_dir: Path, repo: Path, variables: dict[str, str]
) -> None:
    """Its question is taken back, so that nobody answers it in vain."""
    thread = Thread(server, repo)
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, environ=variables):
            await provision(server, thread)
            await thread.start("approve")
            await thread.wait_question()
            resolve = thread.resolve_command({"decision": "deny"})
            for pid in agent_pids(data_dir.parent):
                os.kill(pid, signal.SIGKILL)
            await server.wait(lambda: server.interrupts)
            (interrupt,) = server.interrupts
            assert (interrupt["providerId"], interrupt["threadIds"]) == ("codex", [THREAD])
            assert "awaiting user interaction" in interrupt["reason"]
            (question,) = server.interactions.values()
            assert question["status"] == "interrupted"
            assert await thread.wait_completed() == "failed"
            await server.wait(lambda: thread.events("system/error"))
            assert thread.events("system/error")[0]["code"] == "provider_process_exited"
            await refuse(server, resolve, "stale_interactive_request")
            thread.check_events()


async def test_destroy_in_the_middle_of_a_turn(
    server: StockServer, data_dir: Path, repo: Path, variables: dict[str, str]
) -> None:
    """The turn is told to be interrupted, and no process is left, not even one that hid."""
    thread = Thread(server, repo)
    destroy = {
        "type": "environment.destroy",
        "environmentId": ONE,
        "workspaceContext": thread.workspace,
    }
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, environ=variables) as daemon:
            await provision(server, thread)
            await thread.start("spawn")
            await server.wait(lambda: thread.text().isdecimal())
            hidden = Path(f"/proc/{thread.text()}")
            assert hidden.exists()
            assert await succeed(server, destroy) == {}
            assert not hidden.exists()
            assert agents_of(data_dir.parent) == set()
            assert await thread.wait_completed() == "interrupted"
            await refuse(server, thread.start_command("say x"), "environment_destroyed")
            assert agents_of(data_dir.parent) == set()
            # A start that races the end lifts nothing, whichever of the two is first.
            again = Thread(server, repo, thread_id="thr_two", environment_id="env_two")
            await provision(server, again)
            rows = [
                await server.queue(again.start_command("wait"), hint=False),
                await server.queue({**destroy, "environmentId": "env_two"}),
            ]
            results = [await server.wait_result(row) for row in rows]
            assert results[1]["ok"], results
            assert agents_of(data_dir.parent) == set()
            assert again.events("turn/started") == [] or await again.wait_completed()
            assert (await daemon.control("GET", "/status"))["environmentList"] == []
            again.check_events()
            thread.check_events()


async def test_what_the_shells_of_agents_are_told(
    server: StockServer, data_dir: Path, repo: Path, variables: dict[str, str]
) -> None:
    """The BB variables of the wire contract, the daemon's own not, and no credential anywhere."""
    thread = Thread(server, repo, "shell", options=dict(FULL))
    codex = Thread(server, repo, thread_id="thr_codex")
    more = {
        "BB_SECRET_OF_DAEMON": "bbdh_not_for_agents",
        "NODE_ENV": "production",
        "USERS_OWN": "kept",
        "BB_CLI_DIR": "/opt/tools",
        "BBHOST_LOG_LEVEL": "debug",
    }
    with trio.fail_after(60):
        environ = {**variables, **more}
        flags = ("--local-port", "0")
        async with run_daemon_process(server, data_dir, *flags, environ=environ) as daemon:
            await provision(server, thread)
            await thread.start("env")
            await thread.wait_completed()
            told = dict(line.split("=", 1) for line in thread.text().splitlines() if "=" in line)
            port = told.pop("BB_HOST_DAEMON_PORT")
            assert int(port) > 0
            assert {name: told[name] for name in told if name.startswith("BB_")} == {
                "BB_SERVER_URL": server.url,
                "BB_PROJECT_ID": "proj_1",
                "BB_THREAD_ID": THREAD,
                "BB_ENVIRONMENT_ID": ONE,
                "BB_THREAD_STORAGE": str(data_dir / "thread-storage" / THREAD),
            }
            assert told["PATH"].startswith("/opt/tools:")
            assert told["USERS_OWN"] == "kept"
            assert "NODE_ENV" not in told
            assert [n for n in told if n.startswith("BBHOST_")] in ([], ["BBHOST_BOUNDARY"])
            await codex.start("say x")
            await codex.wait_completed()
            sent = (data_dir.parent / "codex.log").read_text()
            start = next(
                json.loads(line)["params"]
                for line in sent.splitlines()
                if json.loads(line).get("method") == "thread/start"
            )
            prefix = "shell_environment_policy.set."
            names = {key.removeprefix(prefix) for key in start["config"] if prefix in key}
            assert names == {
                "PATH",
                "BB_SERVER_URL",
                "BB_HOST_DAEMON_PORT",
                "BB_PROJECT_ID",
                "BB_THREAD_ID",
                "BB_ENVIRONMENT_ID",
                "BB_THREAD_STORAGE",
            }
            secrets = [
                "bbdh_not_for_agents",
                "sk-configured-secret",
                json.loads((data_dir / "auth.json").read_text())["hostKey"],
            ]
            seen = daemon.log_text() + json.dumps(server.events) + sent + thread.text()
            assert [one for one in secrets if one in seen] == []
            assert await daemon.terminate() == 0
