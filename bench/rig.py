"""What a measurement has at hand: a server, the real daemon process, and its environments."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from attrs import define, field
from tests.system.daemon.harness import (
    DaemonProcess,
    context_of,
    run_daemon_process,
    worktree_spec,
)

from bench.fixtures import isolate_git, make_repository, write_config
from bench.meters import children_cpu_seconds, cpu_seconds
from bench.report import Report
from bench.server import BenchServer, run_bench_server

SETTLE_SECONDS = 600.0
"""Longest wait for the daemon to have come to rest."""
CONCURRENT = 8
"""Environments made at a time where making them is not what is measured."""


@define
class Usage:
    """What happened between two readings of a :class:`Gauge`."""

    seconds: float
    cpu: float
    children_cpu: float
    git: int


@define(eq=False)
class Rig:
    """One daemon. Made by :func:`open_rig`."""

    root: Path
    data_dir: Path
    repo: Path
    server: BenchServer
    report: Report
    variables: dict[str, str]
    """Added to the environment of the daemon."""
    daemon: DaemonProcess = field(init=False)
    ids: list[str] = field(factory=list)
    """Environments that are there."""
    _stack: AsyncExitStack = field(factory=AsyncExitStack, init=False)
    _made: int = field(default=0, init=False)

    @property
    def pid(self) -> int:
        """Of the daemon."""
        return self.daemon.process.pid

    # --- environments -----------------------------------------------------------------------

    def new_id(self) -> str:
        """An id that was never used."""
        self._made += 1
        return f"env_{self._made:05}"

    async def provision(self, environment_id: str) -> float:
        """Make one environment; return the seconds it took."""
        self.server.environments[environment_id] = "ready"
        started = time.perf_counter()
        await self.run(worktree_spec(self.data_dir, environment_id, self.repo))
        self.ids.append(environment_id)
        return time.perf_counter() - started

    async def fill(self, count: int) -> None:
        """Have ``count`` environments, and the daemon at rest."""
        async with trio.open_nursery() as nursery:
            slots = trio.CapacityLimiter(CONCURRENT)

            async def one() -> None:
                async with slots:
                    await self.provision(self.new_id())

            for _ in range(count - len(self.ids)):
                nursery.start_soon(one)
        await self.settle()

    def context(self, environment_id: str) -> dict[str, str]:
        """Its workspace context."""
        return context_of(self.data_dir, environment_id, self.repo)

    def path(self, environment_id: str) -> Path:
        """Its workspace."""
        return Path(self.context(environment_id)["workspacePath"])

    def command(self, kind: str, environment_id: str, **more: Any) -> dict[str, Any]:
        """A command about it."""
        context = self.context(environment_id)
        about = {"environmentId": environment_id, "workspaceContext": context}
        return {"type": kind, **about, **more}

    async def run(self, command: dict[str, Any]) -> dict[str, Any]:
        """Run a command that must succeed; return its result."""
        answer = await self.server.run_command(command)
        if not answer["ok"]:
            raise RuntimeError(f"{command['type']} failed: {answer}")
        result: dict[str, Any] = answer["result"]
        return result

    async def ask_all(self) -> None:
        """Ask for the status of every environment at once."""
        async with trio.open_nursery() as nursery:
            for environment_id in self.ids:
                nursery.start_soon(self.run, self.command("workspace.status", environment_id))

    async def destroy(self, environment_id: str) -> float:
        """Destroy one; return the seconds until that was acknowledged."""
        started = time.perf_counter()
        await self.run(self.command("environment.destroy", environment_id))
        seconds = time.perf_counter() - started
        self.ids.remove(environment_id)
        self.server.environments[environment_id] = "destroyed"
        return seconds

    # --- the daemon -------------------------------------------------------------------------

    async def status(self) -> dict[str, Any]:
        """What the daemon says of itself."""
        answer: dict[str, Any] = await self.daemon.control("GET", "/status")
        return answer

    async def git_processes(self) -> int:
        """How many git processes it has started."""
        return int((await self.status())["git"]["processes"])

    async def settle(self) -> None:
        """Wait until everything is watched and git has been quiet for half a second."""
        with trio.fail_after(SETTLE_SECONDS):
            before, quiet_since = -1, trio.current_time()
            while trio.current_time() - quiet_since < 0.5:
                status = await self.status()
                now = status["git"]["processes"]
                if now != before or status["watch"]["unsettled"]:
                    before, quiet_since = now, trio.current_time()
                await trio.sleep(0.1)

    async def gauge(self) -> "Gauge":
        """Start to measure."""
        return Gauge(
            self,
            await self.git_processes(),
            time.perf_counter(),
            cpu_seconds(self.pid),
            children_cpu_seconds(self.pid),
        )

    async def start_daemon(self, environ: dict[str, str] | None = None) -> float:
        """Start a daemon over the same data; return the seconds until it is connected."""
        self._stack = AsyncExitStack()
        started = time.perf_counter()
        self.daemon = await self._stack.enter_async_context(
            run_daemon_process(
                self.server, self.data_dir, environ=self.variables | (environ or {})
            )
        )
        return time.perf_counter() - started

    async def stop_daemon(self) -> float:
        """Stop it in good order; return the seconds that took."""
        started = time.perf_counter()
        await self.daemon.terminate()
        seconds = time.perf_counter() - started
        await self._stack.aclose()
        return seconds

    async def kill_daemon(self) -> None:
        """End it without a word, if it runs."""
        await self._stack.aclose()


@define
class Gauge:
    """Readings at the start of a span."""

    rig: Rig
    _git: int
    _started: float
    _cpu: float
    _children: float

    async def read(self) -> Usage:
        """What has happened since."""
        seconds = time.perf_counter() - self._started
        cpu = cpu_seconds(self.rig.pid) - self._cpu
        children = children_cpu_seconds(self.rig.pid) - self._children
        return Usage(seconds, cpu, children, await self.rig.git_processes() - self._git)


@asynccontextmanager
async def open_rig(root: Path, report: Report) -> AsyncIterator[Rig]:
    """Make the repository and start server and daemon; the daemon ends with the context."""
    isolate_git(root)
    repo = make_repository(root / "src" / "demo")
    async with run_bench_server() as server:
        rig = Rig(root, root / "data", repo, server, report, write_config(root))
        await rig.start_daemon()
        try:
            # The first one may have had to compile itself, and memory it needed for that never goes
            # back. An installed daemon is compiled.
            await rig.stop_daemon()
            await rig.start_daemon()
            yield rig
        finally:
            await rig.kill_daemon()
