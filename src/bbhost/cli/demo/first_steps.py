"""The steps of an ordinary life: made, watched, asked, destroyed, refused."""

import re
from contextlib import aclosing

import trio

from bbhost.cli.client import segment
from bbhost.cli.demo.kernel import is_alive
from bbhost.cli.demo.repository import make_repository, run_git
from bbhost.cli.demo.world import World, join
from bbhost.cli.following import environment_path
from bbhost.cli.outcomes import CommandError
from bbhost.cli.sockets import messages, open_socket
from bbhost.contract.codec import encode_json, parse_json, structure
from bbhost.contract.results import WorkspaceDiffResult, WorkspaceStatusResult
from bbhost.hub.api.environments import ServerState
from bbhost.hub.api.terminals import (
    OpenTerminal,
    OutputMessage,
    ReplayMessage,
    Terminal,
    ViewerInput,
)

NAMES = ("alpha", "beta", "gamma", "delta")
REFUSED_POLLS = 25


async def begin(world: World) -> None:
    """A repository, a hub, and a daemon that enrols itself."""
    files = await make_repository(world.repository)
    world.tell(f"made a repository of {files} files in {world.repository}")
    await world.start_daemon(**await join(world))
    assert world.daemon is not None
    world.tell(f"hub (pid {world.hub.pid}) and daemon (pid {world.daemon.pid}) run; enrolled")
    status = await world.settled_status()
    world.check(
        "the daemon enrols and opens a session",
        status["session"]["state"] == "open",
        f"host {world.host_id}, session {status['session']['state']}",
    )


async def provision(world: World) -> None:
    """Several environments at once, with their set-up scripts."""
    began = trio.current_time()
    async with trio.open_nursery() as provisioning:
        for name in NAMES:
            provisioning.start_soon(world.create, name)
    listed = await run_git(world.repository, "worktree", "list", "--porcelain")
    found = listed.count("worktree ") - 1
    scripts = sum(
        "set-up script runs" in str(message.get("entries", ""))
        for message in world.told.messages
        if message["type"] == "provisioning"
    )
    world.tell(
        f"provisioned {', '.join(NAMES)} in {trio.current_time() - began:.1f} s; git lists {found} worktrees"
    )
    world.check(
        "environments are real git worktrees",
        found == len(NAMES),
        f"{found} of {len(NAMES)} listed",
    )
    world.check("set-up scripts run", scripts > 0, f"seen in {scripts} transcript messages")


async def notice(world: World) -> None:
    """Edits are told over the notification socket, in new directories too, in ignored ones not."""
    environment, path = world.environments["alpha"], world.path("alpha")
    await world.watches()
    seen = len(world.told.messages)
    (path / "package00" / "module0.py").write_text("VALUE = 'edited'\n")
    began = trio.current_time()
    await world.told.wait(world.told.change_of(environment.id), seen)
    took = (trio.current_time() - began) * 1000
    world.tell(f"an edit in alpha was told after {took:.0f} ms")
    world.check("an edit is noticed", True, f"after {took:.0f} ms")
    seen = len(world.told.messages)
    deep = path / "new" / "and" / "deep"
    deep.mkdir(parents=True)
    (deep / "file.txt").write_text("first\nsecond\n")
    await world.told.wait(world.told.change_of(environment.id), seen)
    status = await world.client.get(
        WorkspaceStatusResult, environment_path(environment.id, "/status")
    )
    files = {str(one.path): str(one.status) for one in status.workspace_status.working_tree.files}
    world.tell(f"status of alpha: {files}")
    world.check(
        "status names what was edited",
        files.get("package00/module0.py") == "M"
        and any(name.startswith("new/") for name in files),
        f"{len(files)} changed files",
    )
    diff = await world.client.get(WorkspaceDiffResult, environment_path(environment.id, "/diff"))
    world.check(
        "diff shows the lines",
        "+VALUE = 'edited'" in diff.diff.diff and "+second" in diff.diff.diff,
        diff.diff.shortstat.strip(),
    )


async def leave_process(world: World) -> None:
    """A shell in a terminal leaves a process behind that has left the shell's session."""
    environment = world.environments["alpha"]
    terminal = await world.client.post(
        Terminal, environment_path(environment.id, "/terminals"), OpenTerminal(200, 24)
    )
    # Taken apart, so that the echo of the command is not mistaken for its output.
    command = "set +m; nohup setsid sleep 1234 >/dev/null 2>&1 & echo left-'behind'=$!.\n"
    printed = ""
    async with (
        open_socket(world.client.server, f"/terminals/{segment(terminal.id)}/attach") as socket,
        aclosing(messages(socket)) as received,
    ):
        await socket.send_message(encode_json(ViewerInput(command.encode())))
        async for text in received:
            message = parse_json(text)
            if message["type"] == "replay":
                printed += "".join(
                    chunk.data.decode("utf-8", "replace")
                    for chunk in structure(ReplayMessage, message).chunks
                )
            elif message["type"] == "output":
                printed += structure(OutputMessage, message).chunk.data.decode("utf-8", "replace")
            found = re.search(r"left-behind=(\d+)\.", printed)
            if found:
                world.left_process = int(found[1])
                break
    alive = is_alive(world.left_process)
    world.tell(f"a terminal in alpha left process {world.left_process} behind, in its own session")
    world.check(
        "a terminal works", alive, f"{terminal.shell or 'shell'}, {len(printed)} characters"
    )


async def destroy(world: World) -> None:
    """Destroying ends processes, removes the worktree and its watches, and keeps unsaved work."""
    before = await world.watches()
    began = trio.current_time()
    settled = await world.destroy("alpha")
    took = trio.current_time() - began
    after = await world.watches()
    world.watches_after_destroy = after
    world.tell(f"destroyed alpha in {took * 1000:.0f} ms; inotify watches {before} -> {after}")
    world.check(
        "a destroyed environment is gone",
        settled.state is ServerState.DESTROYED and not world.path("alpha").exists(),
        f"state {settled.state}, directory removed",
    )
    world.check(
        "its watches are gone", after < before, f"kernel counts {before} before, {after} after"
    )
    alive = is_alive(world.left_process)
    world.check(
        "its processes are gone",
        not alive,
        f"process {world.left_process} {'still runs' if alive else 'has ended'}",
    )
    refs = await run_git(
        world.repository, "for-each-ref", "--format=%(refname)", "refs/bbhost/rescue"
    )
    kept = [ref for ref in refs.splitlines() if world.environments["alpha"].id in ref]
    world.check("unsaved work is kept", bool(kept), f"{len(kept)} rescue refs")


async def refuse(world: World) -> None:
    """Asking about what was destroyed brings nothing back."""
    environment = world.environments["alpha"]
    codes: set[str] = set()
    answered = 0
    for _ in range(REFUSED_POLLS):
        try:
            await world.client.get(
                WorkspaceStatusResult, environment_path(environment.id, "/status")
            )
            answered += 1
        except CommandError as error:
            codes.add(error.code)
    after = await world.watches()
    exists = world.path("alpha").exists()
    world.tell(
        f"{REFUSED_POLLS} status polls of alpha: {answered} answered, refused with {', '.join(codes)}; "
        f"inotify watches {world.watches_after_destroy} -> {after}"
    )
    world.check(
        "polls of a destroyed environment are refused",
        answered == 0 and codes == {"environment_destroyed"},
        f"{REFUSED_POLLS - answered} of {REFUSED_POLLS} refused: {', '.join(sorted(codes))}",
    )
    world.check(
        "and bring nothing back",
        after == world.watches_after_destroy and not exists,
        f"{world.watches_after_destroy} watches before, {after} after; no directory",
    )
