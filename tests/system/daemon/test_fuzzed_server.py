"""A server that says anything at all, to the real daemon: it answers or hangs up, and goes on; nothing runs twice.

What is said is made from samples of every message of the contract, changed in a few places, and of
raw bytes. After each round the daemon must still be the same process and answer a sound command.
"""

import copy
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, field
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fakes.http_server import SocketClosed
from tests.fakes.stock_server import StockServer
from tests.system.daemon.harness import DaemonProcess, run_daemon_process, unmanaged_spec
from tests.system.daemon.threads import FULL, Thread, write_config
from tests.unit.contract.samples import all_samples

ROUND_SECONDS = 60
"""Deadline of one round: some reconnections."""

IMPATIENT = """
import itertools, sys
import bbhost.session.connection as connection
connection.Connection._delays = lambda self: itertools.repeat(0.02)
from bbhost.daemon.__main__ import main
sys.exit(main(sys.argv[4:]))
"""
"""The daemon, but that it does not wait half a minute before it connects again."""

SAMPLES = [(one.label, one.data) for one in all_samples()]
COMMANDS = [data for label, data in SAMPLES if label.startswith("command ")]
ANSWERS = [data for label, data in SAMPLES if label.startswith("response ")]
SERVER_MESSAGES: list[dict[str, Any]] = [
    {"type": "commands-available"},
    {"type": "session-close", "reason": "expired"},
    {"type": "terminal.open", "requestId": "r", "terminalId": "t", "threadId": "thr_1",
     "environmentId": "env_fuzz", "workspaceContext": {"workspacePath": "/nonexistent",
     "workspaceProvisionType": "unmanaged"}, "cols": 80, "rows": 24},
    {"type": "terminal.attach", "requestId": "r", "terminalId": "t", "sinceSeq": 0},
    {"type": "terminal.input", "terminalId": "t", "dataBase64": "eA=="},
    {"type": "terminal.resize", "terminalId": "t", "cols": 80, "rows": 24},
    {"type": "terminal.close", "terminalId": "t", "reason": "user"},
]  # fmt: skip
KEYS = sorted({key for _, data in SAMPLES for key in data})
WORDS = [
    "env_fuzz",
    "thr_1",
    "t",
    "",
    "..",
    "a/../b",
    "\x00",
    "\ud800",
    "x" * 5000,
    "😀",
    "../../etc",
]

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**31, 2**53, -(2**63), 10**400, 1e308, -0.0, 1.5])
    | st.text(max_size=6)
    | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)


@st.composite
def changed(draw: st.DrawFn, originals: list[dict[str, Any]]) -> Any:
    """A sound message with some places changed; now and then with none."""
    value: Any = copy.deepcopy(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(0, 3))):
        value = _change_somewhere(draw, value)
    return value


def _change_somewhere(draw: st.DrawFn, value: Any) -> Any:
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value)))
        match draw(st.integers(0, 6)):
            case 0:
                del value[key]
            case 1:
                value[draw(st.sampled_from(KEYS) | st.text(max_size=3))] = draw(VALUES)
            case _:
                value[key] = _change_somewhere(draw, value[key])
        return value
    if isinstance(value, list) and value and draw(st.booleans()):
        place = draw(st.integers(0, len(value) - 1))
        value[place] = _change_somewhere(draw, value[place])
        return value
    return draw(VALUES)


class Said:
    """Bytes, some by the megabyte, of which failures show the beginning."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"Said({self.data[:200]!r}, of {len(self.data)} bytes)"


RAW = (
    st.binary(max_size=40)
    | st.text(max_size=20).map(lambda text: text.encode(errors="surrogatepass"))
    | st.sampled_from([b"[" * 50_000, b'{"type":' * 20_000, b"9" * 100_000, b"\xff\xfe{}", b" " * 9_000_000])
)  # fmt: skip


def mangled(sound: st.SearchStrategy[Any]) -> st.SearchStrategy[Said]:
    """JSON, whole or cut off, or with a byte in it that does not belong there."""
    texts = sound.map(lambda value: json.dumps(value).encode())
    cut = st.tuples(texts, st.integers(0, 200)).map(lambda both: both[0][: both[1]])
    spoilt = st.tuples(texts, st.integers(0, 200), st.binary(min_size=1, max_size=2)).map(
        lambda three: three[0][: three[1]] + three[2] + three[0][three[1] :]
    )
    return (texts | texts | cut | spoilt | RAW).map(Said)


POSTS = [
    "session/command-result",
    "session/events",
    "session/environment-change",
    "session/commands",
    "session/open",
]
STEPS = st.one_of(
    st.tuples(st.just("socket"), mangled(changed(SERVER_MESSAGES)), st.integers(0, 5)),
    st.tuples(st.just("command"), changed(COMMANDS), st.integers(0, 5)),
    st.tuples(st.just("envelope"), changed([{"id": "c", "cursor": 1, "command": {}}]) | VALUES, st.just(0)),
    st.tuples(st.just("answer"), mangled(changed(ANSWERS)), st.integers(0, 99)),
    st.tuples(st.just("open"), mangled(changed([one for one in ANSWERS if "leaseTimeoutMs" in one])), st.just(0)),
    st.tuples(st.just("twice"), st.none(), st.integers(0, 2)),
)  # fmt: skip
STATUSES = [
    200,
    200,
    200,
    201,
    204,
    206,
    304,
    400,
    401,
    403,
    404,
    409,
    410,
    413,
    429,
    500,
    503,
    599,
    999,
]


@define(eq=False)
class Fuzzing:
    """The daemon under fire, and what was said to it."""

    server: StockServer
    data_dir: Path
    variables: dict[str, str]
    stack: AsyncExitStack
    daemon: DaemonProcess | None = None
    starts: int = 0
    counts: Counter[str] = field(factory=Counter)
    expected: list[str] = field(factory=list)
    """Names that commands delivered several times were to write, once each."""
    numbers: int = 0

    async def play(self, steps: list[tuple[str, Any, int]]) -> None:
        """One round."""
        if self.daemon is None or self.daemon.process.returncode is not None:
            await self._start()
        assert self.daemon is not None
        with trio.fail_after(ROUND_SECONDS):
            for kind, value, choice in steps:
                self.counts[kind] += 1
                await getattr(self, f"_{kind}")(value, choice)
            await self._sound_command()
        assert self.daemon.process.returncode is None, self.daemon.log_text()[-4000:]

    async def _start(self) -> None:
        self.starts += 1
        self.server.faults.clear()
        self.daemon = await self.stack.enter_async_context(
            run_daemon_process(
                self.server,
                self.data_dir,
                environ=self.variables,
                wrapper=(sys.executable, "-c", IMPATIENT),
            )
        )

    async def _sound_command(self) -> None:
        """Answered, whatever has been said before; a good answer is to a good question."""
        self.server.faults.clear()
        empty = self.data_dir.parent / "empty"
        empty.mkdir(exist_ok=True)
        row = await self.server.queue({"type": "host.list_files", "path": str(empty), "limit": 1})
        assert self.daemon is not None
        async with trio.open_nursery() as nursery:

            async def watch_end() -> None:
                assert self.daemon is not None
                code = await self.daemon.wait()
                raise AssertionError(f"ended with {code}: {self.daemon.log_text()[-4000:]}")

            nursery.start_soon(watch_end)
            while not row.settled.is_set():
                with trio.move_on_after(0.5):
                    await row.settled.wait()
                await self.server.hint()
            nursery.cancel_scope.cancel()
        # Of a list of answers that was spoilt, the command may be among the lost: handed out twice
        # and then expired, as by the stock server.
        assert row.result is not None
        assert row.result["ok"] or row.result["errorCode"] == "command_expired", row.result

    async def _socket(self, said: Said, choice: int) -> None:
        data = said.data
        if is_dismissal(data):
            return  # then it is right to end
        session = self.server.session
        if session is None or session.socket is None:
            return
        with suppress(SocketClosed):
            match choice:
                case 0:
                    await session.socket.send_bytes(data)
                case 1:
                    await session.socket.send_bytes(data[:200], framed=False)
                case _:
                    await session.socket.send(data.decode(errors="replace"))

    async def _command(self, command: Any, _choice: int) -> None:
        await self.server.queue(confined(command, self.data_dir.parent))

    async def _envelope(self, envelope: Any, _choice: int) -> None:
        if isinstance(envelope, dict):
            envelope = confined(envelope, self.data_dir.parent)
        await self.server.queue({"type": "nothing"}, envelope=envelope)

    async def _answer(self, body: Said, choice: int) -> None:
        path, status = POSTS[choice % len(POSTS)], STATUSES[choice % len(STATUSES)]
        self.server.fail(path, status, body.data)
        await self.server.hint()

    async def _open(self, body: Said, _choice: int) -> None:
        self.server.fail("session/open", 201, body.data)
        session = self.server.session
        if session is not None and session.socket is not None:
            await session.socket.abort()

    async def _twice(self, _value: None, choice: int) -> None:
        """One command, twice in one list and again later: it must run once."""
        self.numbers += 1
        name = f"run{self.numbers}"
        repo = self.data_dir.parent / "src" / "demo"
        thread = Thread(
            self.server, repo, "shell", f"thr_{name}", environment_id="env_twice", options=FULL
        )
        out = self.data_dir.parent / "ran"
        row = await self.server.queue(thread.start_command(f"echo {name} >> {out}"), hint=False)
        again = {"id": row.command_id, "cursor": row.cursor, "command": row.command}
        for _ in range(choice):
            await self.server.queue({"type": "nothing"}, envelope=again, hint=False)
        await self.server.hint()
        self.expected.append(name)


def is_dismissal(data: bytes) -> bool:
    """Whether this tells the daemon to go, rightly."""
    try:
        message = json.loads(data.decode(errors="replace"))
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(message, dict)
        and message.get("type") == "session-close"
        and message.get("reason") in ("replaced", "daemon-disconnect")
    )


def confined(value: Any, root: Path) -> Any:
    """The same with every absolute path moved below ``root``: a sound command does what it says."""
    if isinstance(value, dict):
        return {key: confined(one, root) for key, one in value.items()}
    if isinstance(value, list):
        return [confined(one, root) for one in value]
    if isinstance(value, str) and value.startswith(("/", "~")):
        return str(root / "fuzz" / value.strip("/~"))
    return value


async def fuzz(
    server: StockServer, data_dir: Path, repo: Path, tmp_path: Path, examples: int
) -> None:
    """So many rounds against one daemon; told what they were made of."""
    (tmp_path / "fuzz").mkdir()
    variables = {**write_config(tmp_path / "config.toml"), "SHELL": "/bin/cat"}
    server.environments |= {"env_twice": "ready", "env_fuzz": "ready"}
    async with AsyncExitStack() as stack:
        fuzzing = Fuzzing(server, data_dir, variables, stack)
        await fuzzing.play([])
        assert (await server.run_command(unmanaged_spec("env_twice", repo)))["ok"]
        failures = await trio.to_thread.run_sync(run_hypothesis, fuzzing.play, examples)
        if failures is not None:
            raise failures
        await fuzzing.play([])
        ran = Counter((tmp_path / "ran").read_text().split())
        assert set(ran) <= set(fuzzing.expected)
        assert set(ran.values()) == {1}, [name for name, times in ran.items() if times > 1]
        assert fuzzing.starts == 1
        print(
            f"{examples} rounds: {dict(fuzzing.counts)}; {len(ran)} ran once of {len(fuzzing.expected)}"
        )


def run_hypothesis(
    play: Callable[[list[tuple[str, Any, int]]], Awaitable[None]], examples: int
) -> BaseException | None:
    """Let hypothesis choose, from a thread; return what failed."""

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
        print_blob=False,
    )
    @given(st.lists(STEPS, min_size=1, max_size=5))
    def round_(steps: list[tuple[str, Any, int]]) -> None:
        trio.from_thread.run(play, steps)

    try:
        round_()
    except BaseException as error:
        return error
    return None


@pytest.mark.slow
async def test_whatever_the_server_says(
    server: StockServer, data_dir: Path, repo: Path, tmp_path: Path
) -> None:
    """The daemon does not end, answers what is sound, and runs nothing twice."""
    with trio.fail_after(300):
        await fuzz(server, data_dir, repo, tmp_path, 25)


@pytest.mark.long
async def test_whatever_the_server_says_at_length(
    server: StockServer, data_dir: Path, repo: Path, tmp_path: Path
) -> None:
    """The same, for as long as it takes to believe it."""
    await fuzz(server, data_dir, repo, tmp_path, 600)
