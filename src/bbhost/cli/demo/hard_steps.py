"""The steps in which something goes wrong: a cut line, a killed daemon."""

import signal
from functools import partial

import trio

from bbhost.cli.demo.repository import run_git
from bbhost.cli.demo.world import World
from bbhost.cli.following import environment_path, follow_until_settled
from bbhost.cli.hosts import wait_host_connected
from bbhost.cli.outcomes import CommandError
from bbhost.cli.thread_following import thread_path
from bbhost.contract.results import WorkspaceStatusResult
from bbhost.hub.api.environments import ServerState
from bbhost.hub.api.hosts import Acknowledgement, HostStatus

KILLED_AT = "teardown.deregister"
"""The worktree is already in the trash, git still knows of it: the most awkward place."""
STOP_SECONDS = 5.0


async def cut(world: World) -> None:
    """The line is cut, an environment destroyed on the server meanwhile; the daemon catches up."""
    beta, gamma = world.environments["beta"], world.environments["gamma"]
    before = await world.watches()
    seen = len(world.told.messages)
    count = world.wire.cut()
    await world.told.wait(partial(_is_host, HostStatus.DISCONNECTED), seen)
    world.tell(f"cut the wire: {count} connections closed, the hub sees the host disconnected")
    found = await world.destroy("beta", wait=False)
    world.tell(f"destroyed beta on the server meanwhile: {found.state}; its files are still there")
    intact = world.path("beta").is_dir() and await world.watches() == before
    world.check(
        "a lost connection touches no environment",
        intact,
        f"{before} watches, all worktrees there",
    )
    world.wire.mend()
    await wait_host_connected(world.client, world.host_id)
    settled = await follow_until_settled(world.client, beta.id)
    daemon_knows = [one["id"] for one in (await world.daemon_status())["environmentList"]]
    after = await world.watches()
    world.tell(
        f"reconnected: beta is {settled.state} here too; inotify watches {before} -> {after}"
    )
    world.check(
        "what the server retired meanwhile is gone after reconnecting",
        settled.state is ServerState.DESTROYED
        and beta.id not in daemon_knows
        and not world.path("beta").exists()
        and after < before,
        f"beta {settled.state}, {after} watches",
    )
    world.check(
        "the others are kept",
        gamma.id in daemon_knows and world.path("gamma").is_dir(),
        f"the daemon has {len(daemon_knows)} environments",
    )


async def stop_and_start(world: World) -> None:
    """SIGTERM ends the daemon quickly; the next one knows and watches what there was."""
    began = trio.current_time()
    code = await world.end_daemon()
    took = trio.current_time() - began
    world.tell(f"SIGTERM: the daemon ended with {code} after {took:.1f} s")
    world.check(
        "SIGTERM ends the daemon",
        code == 0 and took < STOP_SECONDS,
        f"exit {code} in {took:.1f} s",
    )
    await world.start_daemon(BBHOST_FAULT=f"kill:{KILLED_AT}")
    await world.watches()
    seen = len(world.told.messages)
    (world.path("gamma") / "README.md").write_text("# Edited after the restart\n")
    await world.told.wait(world.told.change_of(world.environments["gamma"].id), seen)
    world.tell("after a restart an edit in gamma is noticed, though nobody has asked about it")
    world.check("after a restart everything is watched", True, "an edit in gamma was told")


async def kill(world: World) -> None:
    """The daemon is killed in the middle of a destroy; the next one finishes it."""
    delta = world.environments["delta"]
    assert world.daemon is not None
    await world.destroy("delta", wait=False)
    code = await world.daemon.process.wait()
    await world.forget_daemon()
    listed = await run_git(world.repository, "worktree", "list", "--porcelain")
    half_done = delta.id in listed and not world.path("delta").exists()
    world.tell(f"SIGKILL during the destroy of delta (at {KILLED_AT}): exit {code}, half done")
    world.check(
        "a daemon is killed during a destroy",
        code == -signal.SIGKILL and half_done,
        "directory gone, git still lists the worktree",
    )
    began = trio.current_time()
    await world.start_daemon()
    settled = await follow_until_settled(world.client, delta.id)
    took = trio.current_time() - began
    listed = await run_git(world.repository, "worktree", "list", "--porcelain")
    world.tell(f"restarted: delta is {settled.state} {took:.1f} s after the start")
    world.check(
        "the next daemon finishes it",
        settled.state is ServerState.DESTROYED and delta.id not in listed,
        f"{settled.state} after {took:.1f} s, git lists it no more",
    )
    try:
        await world.client.get(WorkspaceStatusResult, environment_path(delta.id, "/status"))
        refused = "was answered"
    except CommandError as error:
        refused = error.code
    world.check("and does not bring it back", refused == "environment_destroyed", refused)


async def finish(world: World) -> None:
    """The last environment goes with its thread, and the daemon ends with nothing left."""
    await world.client.delete(Acknowledgement, thread_path(world.thread_id))
    await world.destroy("gamma")
    left = await world.watches_left()
    status = await world.daemon_status()
    complaints = await world.complaints()
    code = await world.end_daemon()
    listed = await run_git(world.repository, "worktree", "list", "--porcelain")
    worktrees = listed.count("worktree ") - 1
    world.tell(f"all destroyed: {worktrees} worktrees, {left} watches, daemon ended with {code}")
    world.check(
        "nothing is left",
        worktrees == 0 and left == 0 and not status["environmentList"] and code == 0,
        f"{worktrees} worktrees, {left} watches, {status['processes']['children']} processes",
    )
    world.check(
        "bbhost doctor finds nothing wrong",
        not complaints,
        "; ".join(complaints) or "believed, watched and registered are the same",
    )


def _is_host(status: HostStatus, message: dict[str, object]) -> bool:
    return message["type"] == "host" and message["status"] == status
