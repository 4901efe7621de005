"""Commands without an environment, those no daemon knows, and those about threads nobody has."""

from pathlib import Path
from typing import Any

import pytest
import trio

from tests.fakes.stock_server import StockServer
from tests.system.daemon.harness import refuse, run_daemon_process, succeed

pytestmark = pytest.mark.slow

COMPLETE = {
    "type": "codex.inference.complete",
    "model": "m",
    "prompt": "p",
    "outputSchema": {},
    "timeoutMs": 5000,
}
TRANSCRIBE = {
    "type": "codex.voice.transcribe",
    "model": "m",
    "audioBase64": "AAAA",
    "mimeType": "audio/wav",
    "filename": "a.wav",
    "prompt": None,
    "timeoutMs": 5000,
}
CAPTURE = "cap_1abc_0123abcd"


async def test_codex_and_replay(server: StockServer, data_dir: Path) -> None:
    """Answered at once, as a daemon without credentials and without captures."""
    run = {
        "type": "replay.run",
        "environmentId": "env_1",
        "threadId": "thr_1",
        "captureId": CAPTURE,
        "requestId": "creq_23456789ab",
        "speed": 1,
    }
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir):
            await refuse(server, COMPLETE, "codex_auth_missing")
            await refuse(server, TRANSCRIBE, "codex_auth_missing")
            await refuse(server, {**COMPLETE, "extra": 1}, "invalid_command")
            assert await succeed(server, {"type": "replay.capture_list"}) == {"captures": []}
            for kind in ("get", "delete"):
                command = {"type": f"replay.capture_{kind}", "captureId": CAPTURE}
                await refuse(server, command, "replay_capture_not_found")
                bad = {**command, "captureId": "../x"}
                await refuse(server, bad, "invalid_replay_capture")
            await refuse(server, run, "replay_capture_not_found")
            await refuse(server, {**run, "captureId": "x"}, "invalid_replay_capture")
            await refuse(server, {**run, "speed": 3}, "invalid_command")


async def test_what_cannot_be_run_is_answered_and_stops_nothing(
    server: StockServer, data_dir: Path
) -> None:
    """Unknown types, wrong fields and broken envelopes are told; good commands beside them run."""
    good = {"type": "replay.capture_list"}
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir):
            wrong: list[tuple[Any, str, str]] = [
                ({"type": "future.command", "x": 1}, "future.command", "unknown_command"),
                ({"type": 5}, "unknown", "unknown_command"),
                ({}, "unknown", "unknown_command"),
                ("text", "unknown", "unknown_command"),
                ({"type": "host.read_file"}, "host.read_file", "invalid_command"),
                ({"type": "host.read_file", "path": 5}, "host.read_file", "invalid_command"),
            ]
            rows = [await server.queue(command, hint=False) for command, _, _ in wrong]
            # No cursor, no id, not even an object: the first is answered, the others are dropped.
            no_cursor = await server.queue(
                good, hint=False, envelope={"id": "hcmd_nocursor01", "command": good}
            )
            server.commands["hcmd_nocursor01"] = server.commands.pop(no_cursor.command_id)
            await server.queue(good, hint=False, envelope={"cursor": 1, "command": good})
            await server.queue(good, hint=False, envelope="garbage")
            last = await server.queue(good)
            assert (await server.wait_result(last))["ok"]
            for row, (_, kind, code) in zip(rows, wrong, strict=True):
                report = await server.wait_result(row)
                assert (report["type"], report["errorCode"]) == (kind, code), report
                assert report["errorMessage"]
            assert (await server.wait_result(no_cursor))["errorCode"] == "invalid_command"
            # Fields of a newer server are tolerated where the contract is not strict.
            assert await succeed(server, {**good, "future": {"a": 1}}) == {"captures": []}


EXAMPLES: list[dict[str, Any]] = [
    {"type": "thread.stop", "environmentId": "env_n", "threadId": "thr_n"},
    {"type": "thread.rename", "environmentId": "env_n", "threadId": "thr_n", "title": "x"},
    {"type": "thread.deleted", "environmentId": "env_n", "threadId": "thr_n"},
    {
        "type": "interactive.resolve",
        "environmentId": "env_n",
        "threadId": "thr_n",
        "interactionId": "pint_1",
        "providerId": "codex",
        "providerThreadId": "p",
        "providerRequestId": "r",
        "resolution": {"decision": "deny"},
    },
    {"type": "provider.list"},
    {"type": "provider.list_models", "providerId": "nobody"},
]
"""Commands about threads and providers that nobody has."""


async def test_commands_about_threads_nobody_has_are_answered(
    server: StockServer, data_dir: Path
) -> None:
    """Each is answered in words or with success; nothing is made, and the daemon goes on."""
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir) as daemon:
            for command in EXAMPLES:
                report = await server.run_command(command)
                assert report["type"] == command["type"]
                assert report["ok"] or report["errorMessage"], report
            assert (await daemon.control("GET", "/status"))["environments"] == {}
            assert not (data_dir / "thread-storage" / "thr_n").exists()
