"""Terminals over the daemon's socket: real ptys, exact messages, one end for each."""

import base64
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.fakes.stock_server import StockServer
from tests.system.daemon.harness import (
    DaemonProcess,
    context_of,
    make_repository,
    resident_kib,
    run_daemon_process,
    succeed,
    unmanaged_context,
    worktree_spec,
)

pytestmark = pytest.mark.slow
ONE = "env_one"


class Terminal:
    """One terminal, as the server sees it."""

    def __init__(
        self,
        server: StockServer,
        terminal_id: str,
        context: dict[str, str],
        environment: str = ONE,
    ) -> None:
        self.server, self.id, self.context = server, terminal_id, context
        self.environment = environment
        self._requests = 0

    async def send(self, kind: str, **fields: Any) -> str:
        self._requests += 1
        request = f"{self.id}_{self._requests}"
        if kind in {"open", "attach"}:
            fields["requestId"] = request
        await self.server.send({"type": f"terminal.{kind}", "terminalId": self.id, **fields})
        return request

    async def open(self, cols: int = 90, rows: int = 30) -> dict[str, Any]:
        request = await self.send(
            "open",
            threadId="thr_1",
            environmentId=self.environment,
            workspaceContext=self.context,
            cols=cols,
            rows=rows,
        )
        return await self.answer(request)

    async def answer(self, request: str) -> dict[str, Any]:
        """The message that answers a request."""

        def find() -> dict[str, Any] | None:
            return next(
                (one for one in self.server.messages if one.get("requestId") == request), None
            )

        await self.server.wait(lambda: find() is not None)
        found = find()
        assert found is not None
        return found

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [
            one
            for one in self.server.messages
            if one["type"] == f"terminal.{kind}" and one.get("terminalId") == self.id
        ]

    @property
    def output(self) -> bytes:
        chunks = [one["chunk"] for one in self.all("output")]
        assert [chunk["seq"] for chunk in chunks] == list(range(len(chunks)))
        return b"".join(base64.b64decode(chunk["dataBase64"]) for chunk in chunks)

    async def type(self, text: str) -> None:
        await self.send("input", dataBase64=base64.b64encode(text.encode()).decode())

    async def shows(self, text: str, count: int = 1) -> None:
        await self.server.wait(lambda: self.output.count(text.encode()) >= count)

    async def ask(self, command: str) -> str:
        """Run a command in the shell and return the one line it prints."""
        before = len(ANSWER.findall(self.output))
        await self.type(f"printf '[[%s]]' \"$({command})\"\r")
        await self.server.wait(lambda: len(ANSWER.findall(self.output)) > before)
        return ANSWER.findall(self.output)[-1].decode()

    async def exited(self) -> dict[str, Any]:
        """The only ``terminal.exited``."""
        await self.server.wait(lambda: bool(self.all("exited")))
        (message,) = self.all("exited")
        return message


ANSWER = re.compile(rb"\[\[(?!%s\]\])(.*?)\]\]", re.DOTALL)
"""What a command printed, and not its echo: a line typed before the prompt is echoed twice."""
FLAGS = {"environ": {"SHELL": "/bin/sh", "PS1": "$ ", "BB_SECRET": "x", "ENV": ""}}


async def test_a_terminal_from_open_to_exit(
    server: StockServer, data_dir: Path, repo: Path
) -> None:
    """Opened, typed into, resized, replayed, ended by its shell; the shell's environment is right."""
    context = context_of(data_dir, ONE, repo)
    server.environments[ONE] = "ready"
    with trio.fail_after(90):
        async with run_daemon_process(server, data_dir, **FLAGS) as daemon:
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            terminal = Terminal(server, "term_1", context)
            opened = await terminal.open()
            opened.pop("requestId")
            assert opened == {
                "type": "terminal.opened",
                "terminalId": "term_1",
                "shell": "/bin/sh",
                "title": "sh",
                "initialCwd": context["workspacePath"],
                "currentCwd": None,
                "cols": 90,
                "rows": 30,
            }
            assert await terminal.ask("pwd") == context["workspacePath"]
            assert await terminal.ask("stty size") == "30 90"
            await terminal.send("resize", cols=100, rows=40)
            assert await terminal.ask("stty size") == "40 100"
            wanted = f"{server.url}|term_1|xterm-256color|truecolor|true||||"
            names = "BB_SERVER_URL BB_TERMINAL_SESSION_ID TERM COLORTERM DISABLE_AUTO_TITLE"
            more = "PROMPT_EOL_MARK BB_THREAD_ID BB_SECRET"
            variables = "|".join(f"${name}" for name in (names + " " + more).split())
            assert await terminal.ask(f'echo "{variables}|"') == wanted
            replay = await terminal.answer(await terminal.send("attach", sinceSeq=0))
            assert replay["type"] == "terminal.replay"
            chunks = replay["chunks"]
            assert [chunk["seq"] for chunk in chunks] == list(range(replay["nextSeq"]))
            text = b"".join(base64.b64decode(chunk["dataBase64"]) for chunk in chunks)
            assert text == terminal.output[: len(text)]
            await terminal.type("exit 3\r")
            exited = await terminal.exited()
            assert (exited["exitCode"], exited["closeReason"]) == (3, "process-exit")
            # What is unknown is ignored, but for an attach, which is answered.
            for kind, fields in (
                ("input", {"dataBase64": "eA=="}),
                ("resize", {"cols": 1, "rows": 1}),
                ("close", {"reason": "user"}),
            ):
                await terminal.send(kind, **fields)
            error = await terminal.answer(await terminal.send("attach", sinceSeq=0))
            assert (error["type"], error["code"]) == ("terminal.error", "terminal_not_found")
            assert error["message"]
            assert (await daemon.control("GET", "/status"))["terminals"] == 0


async def test_ends_and_errors(server: StockServer, data_dir: Path, repo: Path) -> None:
    """Closed by the user, by destroy, by a stop; refused twice over, in nowhere and after destroy."""
    context = context_of(data_dir, ONE, repo)
    server.environments[ONE] = "ready"
    with trio.fail_after(90):
        async with run_daemon_process(server, data_dir, **FLAGS) as daemon:
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            one = Terminal(server, "term_1", context)
            await one.open()
            again = await one.open()
            assert (again["type"], again["code"]) == ("terminal.error", "terminal_exists")
            await one.send("close", reason="user")
            assert (await one.exited())["closeReason"] == "user"

            nowhere = {**context, "workspacePath": str(data_dir / "nowhere")}
            lost = await Terminal(server, "term_2", nowhere, "env_none").open()
            assert (lost["type"], lost["code"]) == ("terminal.error", "terminal_open_failed")
            assert "nowhere" in lost["message"]

            two, three = (Terminal(server, f"term_{n}", context) for n in (3, 4))
            await two.open()
            await three.open()
            # It ignores the hang-up, and its child too: both are gone all the same.
            await two.type("trap '' HUP TERM; sleep 307 & wait\r")
            about = {"environmentId": ONE, "workspaceContext": context}
            await succeed(server, {"type": "environment.destroy", **about})
            for terminal in (two, three):
                assert (await terminal.exited())["closeReason"] == "environment-destroyed"
            refused = await two.open()
            assert (refused["type"], refused["code"]) == ("terminal.error", "terminal_open_failed")

            own = make_repository(data_dir.parent / "own")
            four = Terminal(server, "term_5", unmanaged_context(own), "env_own")
            await four.open()
            assert await daemon.terminate() == 0
            exited = await four.exited()
            assert (exited["exitCode"], exited["closeReason"]) == (None, "daemon-disconnect")


async def test_a_terminal_where_there_is_no_git(
    server: StockServer, data_dir: Path, tmp_path: Path
) -> None:
    """In a personal workspace and in a plain directory, of any size; wrong messages are dropped."""
    personal = {
        "workspacePath": str(data_dir / "personal-workspaces" / "env_p"),
        "workspaceProvisionType": "personal",
    }
    plain = tmp_path / "plain"
    plain.mkdir()
    environ = {**FLAGS["environ"], "SHELL": "/no/such/shell"}
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, environ=environ):
            spec = {
                "type": "environment.provision",
                "environmentId": "env_p",
                "initiator": None,
                "workspaceProvisionType": "personal",
                "targetPath": personal["workspacePath"],
            }
            await succeed(server, spec)
            one = Terminal(server, "term_1", personal, "env_p")
            opened = await one.open(500, 200)
            # The first of the usual ones that is there.
            assert opened["shell"] in {"/bin/zsh", "/bin/bash", "/bin/sh"}
            assert await one.ask("pwd") == personal["workspacePath"]
            assert await one.ask("stty size") == "200 500"
            await one.send("resize", cols=0, rows=1)
            await one.send("resize", cols=501, rows=1)
            await one.send("input", dataBase64="no base64!")
            await one.send("resize", cols=100, rows=1)
            assert await one.ask("stty size") == "1 100"
            late = await one.answer(await one.send("attach", sinceSeq=1_000_000))
            assert (late["chunks"], late["nextSeq"]) == ([], len(one.all("output")))
            two = Terminal(server, "term_2", unmanaged_context(plain), "env_plain")
            assert (await two.open(1, 1))["cols"] == 1
            await two.send("resize", cols=80, rows=24)
            assert await two.ask("pwd") == str(plain)
            about = {"environmentId": "env_p", "workspaceContext": personal}
            await succeed(server, {"type": "environment.destroy", **about})
            assert (await one.exited())["closeReason"] == "environment-destroyed"
            assert not Path(personal["workspacePath"]).exists()
            assert two.all("exited") == []


async def test_what_the_daemon_was_told_to_ignore_is_not_ignored_in_a_terminal(
    server: StockServer, data_dir: Path, tmp_path: Path
) -> None:
    """nohup, or a script's background: Ctrl-C works in the shells all the same."""
    plain = tmp_path / "plain"
    plain.mkdir()
    wrapper = ("sh", "-c", "trap '' INT QUIT TSTP; exec \"$@\"", "sh")
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, wrapper=wrapper, **FLAGS):
            one = Terminal(server, "term_1", unmanaged_context(plain), "env_plain")
            await one.open(80, 24)
            ignored = int((await one.ask("grep SigIgn /proc/self/status")).split()[1], 16)
            # Not SIGTSTP: some shells ignore it themselves.
            for number in (signal.SIGINT, signal.SIGQUIT):
                assert not ignored & 1 << (number - 1), number.name


async def test_a_lost_link_and_a_new_one(server: StockServer, data_dir: Path, repo: Path) -> None:
    """Output while the link is down is kept for a replay and never sent by itself; then it is closed."""
    own = unmanaged_context(repo)
    server.environments[ONE] = "ready"
    with trio.fail_after(90):
        async with run_daemon_process(server, data_dir, **FLAGS) as daemon:
            terminal = Terminal(server, "term_1", own)
            await terminal.open()
            await trio.to_thread.run_sync(make_fifo, repo)
            await terminal.type("read x < fifo; echo while-away; echo > back\r")
            await terminal.shows("while-away")  # the echo of the command line
            session = server.session
            server.refuses_sockets = True
            await server.drop_socket()
            await trio.to_thread.run_sync(go_through, repo)
            seen = terminal.output
            server.refuses_sockets = False
            await server.wait_connected(other_than=session)
            replay = await terminal.answer(await terminal.send("attach", sinceSeq=0))
            chunks = replay["chunks"]
            text = b"".join(base64.b64decode(chunk["dataBase64"]) for chunk in chunks)
            assert text.count(b"while-away") == 2
            assert terminal.output == seen
            # The server expires terminals of an earlier socket.
            await terminal.send("close", reason="daemon-disconnect")
            assert (await terminal.exited())["closeReason"] == "daemon-disconnect"
            await daemon.poll(lambda: not_running(daemon, b"/bin/sh"))


def make_fifo(repo: Path) -> None:
    for name in ("fifo", "back"):
        os.mkfifo(repo / name)


def go_through(repo: Path) -> None:
    """Let the shell go on, and wait until it has printed."""
    (repo / "fifo").write_text("x\n")
    (repo / "back").read_text()


def not_running(daemon: DaemonProcess, command: bytes) -> bool:
    children = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text()
    return not any(
        Path(f"/proc/{pid}/cmdline").read_bytes().startswith(command) for pid in children.split()
    )


async def test_a_flood_delays_nothing_else(
    server: StockServer, data_dir: Path, repo: Path
) -> None:
    """While one terminal floods the link, another answers, heartbeats go on, and memory stays flat."""
    own = unmanaged_context(repo)
    server.environments[ONE] = "ready"

    with trio.fail_after(90):
        async with run_daemon_process(server, data_dir, **FLAGS) as daemon:
            loud, quiet = Terminal(server, "term_1", own), Terminal(server, "term_2", own)
            await quiet.open()
            await loud.open()
            await loud.type("yes 0123456789012345678901234567890123456789\r")
            await server.wait(lambda: len(loud.all("output")) > 50)
            session = server.session
            assert session is not None
            beats = session.heartbeats
            for number in range(5):
                assert await quiet.ask(f"echo {number}") == str(number)
            status = {"environmentId": ONE, "workspaceContext": own}
            await succeed(server, {"type": "workspace.status", **status})
            await server.wait(lambda: session.heartbeats > beats)
            await loud.send("close", reason="user")
            assert (await loud.exited())["closeReason"] == "user"
            peak = resident_kib(daemon, "VmHWM")
            assert peak < 150 * 1024, peak


@pytest.mark.long
async def test_half_a_gigabyte_of_output(server: StockServer, data_dir: Path, repo: Path) -> None:
    """All of it arrives, in order; memory does not grow, and everything else goes on beside it."""
    own = unmanaged_context(repo)
    size = 500_000_000
    server.forgets_output_of = {"term_1"}
    server.redelivery_seconds = 60.0
    with trio.fail_after(900):
        async with run_daemon_process(server, data_dir, **FLAGS) as daemon:
            loud, quiet = Terminal(server, "term_1", own), Terminal(server, "term_2", own)
            await quiet.open()
            await loud.open()
            await loud.type(f"head -c {size} /dev/zero | tr '\\0' x; printf '[[%s]]' done\r")
            await server.wait(lambda: server.output_bytes["term_1"] > 10_000_000)
            before = resident_kib(daemon)
            session = server.session
            assert session is not None
            number = 0
            while not server.last_output["term_1"].rstrip(b"$ ").endswith(b"x[[done]]"):
                seen = server.output_bytes["term_1"]
                beats = session.heartbeats
                number += 1
                assert await quiet.ask(f"echo {number}") == str(number)
                status = {"environmentId": ONE, "workspaceContext": own}
                await succeed(server, {"type": "workspace.status", **status})
                await server.wait(lambda beats=beats: session.heartbeats > beats)
                finished = server.output_bytes["term_1"] > size
                assert finished or server.output_bytes["term_1"] > seen
            assert server.output_bytes["term_1"] > size
            assert server.session is session
            grown = resident_kib(daemon, "VmHWM") - before
            assert grown < 32 * 1024, f"{grown} KiB"
