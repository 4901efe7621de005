"""The place of the demonstration: its processes, its hub, its line between them, its report."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from attrs import define, field

from bbhost.cli.client import HubClient, open_client
from bbhost.cli.control import ask_daemon
from bbhost.cli.demo.kernel import inotify_watches
from bbhost.cli.demo.processes import Running, bare_environ, run_hub_program, run_program
from bbhost.cli.demo.report import Check, DemoReport
from bbhost.cli.demo.told import Told
from bbhost.cli.demo.wire import Wire, open_wire
from bbhost.cli.following import environment_path, follow_until_settled
from bbhost.cli.hosts import wait_host_connected
from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.cli.place import Server, read_token
from bbhost.cli.printing import say
from bbhost.daemon.config import Config, load_config
from bbhost.hub.api.environments import CreateEnvironment, Environment, RequestedWorkspace
from bbhost.hub.api.hosts import JoinRequest, JoinResponse
from bbhost.toolkit.running import running

LEFT_SECONDS = 5.0
"""For the watch of thread storage to end after the last thread."""
LOOK_SECONDS = 0.03
"""Between looks at something that tells nobody when it changes."""


@define(eq=False)
class World:
    """Everything a step works with."""

    place: Path
    wire: Wire
    hub: Running
    client: HubClient
    told: Told
    host_id: str
    config: Config
    report: DemoReport
    quiet: bool
    began: float = field(factory=time.monotonic)
    environments: dict[str, Environment] = field(factory=dict)
    """By the names the steps give them."""
    daemon: Running | None = None
    thread_id: str = ""
    """Of the agent."""
    left_process: int = 0
    """A process that a terminal left behind."""
    watches_after_destroy: int = 0
    _daemon_stack: AsyncExitStack = field(factory=AsyncExitStack)

    @property
    def repository(self) -> Path:
        """The repository that worktrees are made of."""
        return self.place / "project"

    def tell(self, text: str) -> None:
        """Say what is seen."""
        if not self.quiet:
            say(f"[{time.monotonic() - self.began:5.1f} s] {text}")

    def check(self, name: str, passed: bool, detail: str) -> None:
        """Note what was checked."""
        self.report.checks.append(Check(name, passed, detail))
        if not passed:
            self.tell(f"FAILED: {name}: {detail}")

    # --- the daemon -------------------------------------------------------------------------

    async def start_daemon(self, **environ: str) -> None:
        """Start the daemon, connected through the wire, and wait until it has a session."""
        arguments = [
            *("-m", "bbhost", "daemon", "--server-url", f"http://127.0.0.1:{self.wire.port}"),
            *("--data-dir", str(self.place / "host"), "--host-name", "demo"),
            *("--log-format", "json"),
        ]
        run = run_program(
            self.place / "daemon.log", arguments, bare_environ(self.place, **environ)
        )
        self.daemon = await self._daemon_stack.enter_async_context(run)
        await wait_host_connected(self.client, self.host_id)

    async def end_daemon(self) -> int:
        """Stop the daemon in good order; return its exit code."""
        assert self.daemon is not None
        code = await self.daemon.stop()
        await self.forget_daemon()
        return code

    async def forget_daemon(self) -> None:
        """Let go of a daemon that has ended."""
        await self._daemon_stack.aclose()
        self._daemon_stack, self.daemon = AsyncExitStack(), None

    async def daemon_status(self) -> Any:  # noqa: ANN401 - the answer's JSON
        """Ask the daemon about itself, past the hub."""
        return await ask_daemon(self.config, "GET", "/status", seconds=10)

    async def complaints(self) -> list[str]:
        """What the daemon's doctor finds wrong; the disk's room is not the demonstration's doing."""
        report = await ask_daemon(self.config, "GET", "/doctor", seconds=20)
        return [
            f"{one['check']}: {one['what']}"
            for one in report["findings"]
            if one["severity"] in {"warning", "error"} and one["check"] != "disk"
        ]

    async def settled_status(self) -> Any:  # noqa: ANN401 - the same
        """Return the daemon's status once its session is open or lost and no survey is under way."""
        while True:
            status = await self.daemon_status()
            if status["session"]["state"] != "opening" and not status["watch"]["unsettled"]:
                return status
            # The daemon tells nobody when it settles. The step's deadline bounds this.
            await trio.sleep(LOOK_SECONDS)

    async def watches(self) -> int:
        """Return how many watches the kernel holds for the daemon, once it has settled."""
        status = await self.settled_status()
        assert self.daemon is not None
        held = inotify_watches(self.daemon.pid)
        return int(status["watch"]["kernelWatches"]) if held is None else held

    async def watches_left(self) -> int:
        """Return how many watches are left once all should have gone, or are given up on."""
        with trio.move_on_after(LEFT_SECONDS):
            while True:
                if not await self.watches():
                    return 0
                await trio.sleep(LOOK_SECONDS)
        return await self.watches()

    # --- environments -----------------------------------------------------------------------

    async def create(self, name: str) -> None:
        """Make an environment and wait until it is ready."""
        wanted = RequestedWorkspace("managed-worktree", source_path=str(self.repository))
        made = await self.client.post(
            Environment, "/environments", CreateEnvironment(wanted, name=name)
        )
        settled = await follow_until_settled(self.client, made.id)
        if settled.error is not None:
            raise CommandError(Outcome.FAILED, f"{name}: {settled.error.message}")
        self.environments[name] = settled

    async def destroy(self, name: str, *, wait: bool = True) -> Environment:
        """Destroy an environment."""
        environment_id = self.environments[name].id
        found = await self.client.delete(Environment, environment_path(environment_id))
        return await follow_until_settled(self.client, environment_id) if wait else found

    def path(self, name: str) -> Path:
        """Where an environment's files are."""
        return Path(self.environments[name].workspace_path)


@asynccontextmanager
async def open_world(place: Path, report: DemoReport, *, quiet: bool) -> AsyncIterator[World]:
    """Start the hub and the line to it. The daemon is started by a step.

    Args:
        place: an empty directory but for ``config.toml``, the settings of both.
    """
    async with AsyncExitStack() as stack:
        wire = await open_wire()
        await stack.enter_async_context(running(wire.run))
        hub, url, token_file = await stack.enter_async_context(
            run_hub_program(place, f"127.0.0.1:{wire.port}")
        )
        wire.target = int(url.rpartition(":")[2])
        server = Server(url, read_token(Path(token_file)))
        client = await stack.enter_async_context(open_client(server))
        told = Told()
        await stack.enter_async_context(running(told.run, server))
        config = load_config({"data_dir": str(place / "host")}, {}, place / "config.toml")
        world = World(place, wire, hub, client, told, "", config, report, quiet)
        stack.push_async_callback(world.forget_daemon)
        yield world


async def join(world: World) -> dict[str, str]:
    """Make a host; return what its daemon needs to enrol."""
    joined = await world.client.post(JoinResponse, "/hosts/join", JoinRequest())
    world.host_id = joined.host_id
    return {"BBHOST_HOST_ID": joined.host_id, "BBHOST_ENROLL_KEY": joined.join_code}
