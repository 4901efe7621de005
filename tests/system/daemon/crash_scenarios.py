"""What the daemon is doing when it is killed, and at which fault points that is tried.

Each scenario is a few commands. Together they pass every fault point of the daemon; the test compares
the points named here with those in the source.
"""

import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio
from attrs import define, field, frozen

from tests.fakes.stock_server import StockCommand, StockServer
from tests.system.daemon.harness import (
    context_of,
    git,
    succeed,
    unmanaged_context,
    unmanaged_spec,
    worktree_spec,
)

ONE = "env_one"
THREAD = "thr_one"
KEPT_BRANCH = "feature"


@define(eq=False)
class Setting:
    """The world of one run."""

    server: StockServer
    top: Path
    repo: Path
    data_dir: Path
    rows: list[StockCommand] = field(factory=list)
    """Every command whose result counts."""

    @property
    def path(self) -> Path:
        """The managed worktree."""
        return Path(context_of(self.data_dir, ONE, self.repo)["workspacePath"])

    def about(self) -> dict[str, Any]:
        """What every command of the managed worktree says."""
        return {
            "environmentId": ONE,
            "workspaceContext": context_of(self.data_dir, ONE, self.repo),
        }

    def about_checkout(self) -> dict[str, Any]:
        """The same for the user's own checkout."""
        return {"environmentId": ONE, "workspaceContext": unmanaged_context(self.repo)}

    async def run(self, command: dict[str, Any]) -> dict[str, Any]:
        """Queue a command whose result counts, and wait for it."""
        row = await self.server.queue(command)
        self.rows.append(row)
        return await self.server.wait_result(row)

    def commit(self, files: dict[str, str]) -> None:
        """Commit files in the repository."""
        for name, content in files.items():
            (self.repo / name).write_text(content)
        git(self.repo, "add", "-A")
        git(self.repo, "commit", "-qm", "more")


Act = Callable[[Setting], Awaitable[None]]


async def _nothing(_setting: Setting) -> None:
    await trio.lowlevel.checkpoint()


@frozen
class Scenario:
    """Something to interrupt."""

    act: Act
    """Runs commands and waits for their results, across the crash."""
    points: tuple[str, ...]
    """Where it is killed. ``name#3``: the third time that point is reached."""
    prepare: Act = _nothing
    """Comes before, while a daemon runs that nobody kills."""
    variables: dict[str, str] = field(factory=dict)
    complaints: tuple[str, ...] = ()
    """What the doctor is right to complain of in the end; else there is nothing."""


async def _connected(setting: Setting) -> Any:
    return await setting.server.wait_connected()


# --- provisioning -------------------------------------------------------------------------------


async def _hooks(setting: Setting) -> None:
    (setting.repo / ".gitignore").write_text(".env\nset-up\n")
    (setting.repo / ".env").write_text("A=1\n")
    setting.commit(
        {
            ".worktreeinclude": ".env\n",
            ".bb-env-setup.sh": "nohup setsid sleep 309 >/dev/null 2>&1 &\necho done > set-up\n",
            ".bb-env-teardown.sh": "echo bye\n",
        }
    )


async def _provision(setting: Setting) -> None:
    setting.server.threads[THREAD] = ONE
    initiator = {"threadId": THREAD, "provisioningId": "prov_1"}
    spec = worktree_spec(setting.data_dir, ONE, setting.repo, initiator=initiator)
    await setting.run(spec)


async def _failing_hook(setting: Setting) -> None:
    setting.commit({".bb-env-setup.sh": "echo no > made\nexit 3\n"})


async def _provision_personal(setting: Setting) -> None:
    await setting.run(
        {
            "type": "environment.provision",
            "environmentId": ONE,
            "initiator": None,
            "workspaceProvisionType": "personal",
            "targetPath": str(setting.data_dir / "personal-workspaces" / ONE),
        }
    )


async def _branch(setting: Setting) -> None:
    git(setting.repo, "branch", KEPT_BRANCH)


async def _switch(setting: Setting) -> None:
    checkout = {"kind": "existing", "name": KEPT_BRANCH}
    await setting.run(unmanaged_spec(ONE, setting.repo, checkout=checkout))


# --- the end of an environment --------------------------------------------------------------------


async def _work(setting: Setting) -> None:
    """A worktree with work of every kind in it, and a process."""
    await _hooks(setting)
    await succeed(setting.server, worktree_spec(setting.data_dir, ONE, setting.repo))
    path = setting.path
    (path / "committed.txt").write_text("committed\n")
    git(path, "add", "committed.txt")
    git(path, "commit", "-qm", "unpushed")
    (path / "staged.txt").write_text("staged\n")
    git(path, "add", "staged.txt")
    (path / "d0" / "f0.txt").write_text("changed\n")
    (path / "d1" / "f1.txt").unlink()
    (path / "new").mkdir()
    (path / "new" / "script").write_text("#!/bin/sh\n")
    (path / "new" / "script").chmod(0o755)
    (path / "link").symlink_to("d2/f2.txt")


async def _destroy(setting: Setting) -> None:
    await setting.run({"type": "environment.destroy", **setting.about()})


async def _locked(setting: Setting) -> None:
    await _work(setting)
    git(setting.repo, "worktree", "lock", "--reason", "mine", str(setting.path))


async def _provision_only(setting: Setting) -> None:
    await succeed(setting.server, worktree_spec(setting.data_dir, ONE, setting.repo))


async def _retire(setting: Setting) -> None:
    """The server forgets the environment while the link is down; the next session says so."""
    session = await _connected(setting)
    setting.server.environments[ONE] = "destroyed"
    await setting.server.drop_socket()
    await setting.server.wait_connected(other_than=session)


# --- publishing -----------------------------------------------------------------------------------


async def _changed(setting: Setting) -> None:
    await _provision_only(setting)
    (setting.path / "new.txt").write_text("new\n")
    (setting.path / "d0" / "f0.txt").write_text("changed\n")


async def _commit(setting: Setting) -> None:
    await setting.run({"type": "workspace.commit", "message": "the work", **setting.about()})


async def _committed(setting: Setting) -> None:
    await _changed(setting)
    git(setting.path, "add", "-A")
    git(setting.path, "commit", "-qm", "work")


async def _merge(setting: Setting) -> None:
    await setting.run(
        {
            "type": "workspace.squash_merge",
            "targetBranch": "main",
            "commitMessage": "squashed",
            **setting.about(),
        }
    )


# --- files, terminals, leftovers --------------------------------------------------------------------


async def _write_and_read(setting: Setting) -> None:
    root = setting.data_dir / "scratch"
    about = {"rootPath": str(root), "path": "a/kept.txt", "dotfiles": "deny"}
    await setting.run(
        {
            "type": "host.write_file_relative",
            **about,
            "content": "kept",
            "contentEncoding": "utf8",
        }
    )
    await setting.run({"type": "host.read_file_relative", **about})


async def _terminal(setting: Setting) -> None:
    """Open a terminal and let its shell exit; a daemon that is killed takes it along."""
    server = setting.server
    await _connected(setting)
    await server.send(
        {
            "type": "terminal.open",
            "requestId": "r",
            "terminalId": "term_1",
            "threadId": THREAD,
            **setting.about_checkout(),
            "cols": 80,
            "rows": 24,
        }
    )
    session = server.session
    await server.wait(
        lambda: server.session is not session or _heard(server, "terminal.opened") is not None
    )
    if server.session is not session:
        return
    data = base64.b64encode(b"exit 3\r").decode()
    await server.send({"type": "terminal.input", "terminalId": "term_1", "dataBase64": data})
    await server.wait(
        lambda: server.session is not session or _heard(server, "terminal.exited") is not None
    )


def _heard(server: StockServer, kind: str) -> dict[str, Any] | None:
    return next((one for one in server.messages if one["type"] == kind), None)


async def _leave_worktree(setting: Setting) -> None:
    """Released, and then nobody's: its tombstone says that the server has destroyed it."""
    await _provision_only(setting)
    await succeed(setting.server, {"type": "environment.destroy", **setting.about()})
    path = setting.path
    path.mkdir(parents=True)
    (path / "leftover.txt").write_text("x")


async def _collect(setting: Setting) -> None:
    """Ask for garbage collection until a daemon has answered."""
    body = b'{"dryRun": false}'
    head = b"POST /gc HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    while True:
        try:
            stream = await trio.open_unix_socket(setting.data_dir / "run" / "control.sock")
            async with stream:
                await stream.send_all(head + b"content-length: %d\r\n\r\n" % len(body) + body)
                answer = b"".join([chunk async for chunk in stream])
        except (OSError, trio.BrokenResourceError):
            answer = b""
        if answer.startswith(b"HTTP/1.1 200"):
            return
        await trio.sleep(0.05)


PROVISION_POINTS = (
    "fetch.received",
    "fetch.accepted",
    "command.before_handler",
    "provision.before_parent",
    "provision.parent_made",
    "provision.worktree_added",
    "provision.include_listed",
    "provision.included",
    "processes.started",
    "provision.setup_ended",
    "provision.done",
    "journal.provisioned",
    "events.posted",
    "command.before_settle",
    "report.before_post",
    "report.posted",
    "watch.root_watched",
    "watch.slice_surveyed",
    *(f"journal.before_commit#{n}" for n in range(1, 14)),
    *(f"journal.committed#{n}" for n in range(1, 14)),
)
DESTROY_POINTS = (
    "journal.destroy",
    "teardown.teardown_hook",
    "teardown.script_ended",
    "teardown.stop_processes",
    "processes.ended",
    "teardown.rescue",
    "rescue.scanned",
    "rescue.files_stored",
    "rescue.stored",
    "teardown.move_to_trash",
    "removal.before_discard",
    "trash.entry_made",
    "trash.note_written",
    "trash.moved",
    "teardown.deregister",
    "removal.before_deregister",
    "removal.deregistered",
    "teardown.prune_parent",
    "removal.parent_pruned",
    "teardown.done",
    "journal.torn_down",
    "trash.files_deleted",
    "command.before_settle",
    "report.before_post",
    "report.posted",
    *(f"journal.before_commit#{n}" for n in range(1, 8)),
    *(f"journal.committed#{n}" for n in range(1, 8)),
)

SCENARIOS = {
    "provision": Scenario(_provision, PROVISION_POINTS, _hooks),
    "failing": Scenario(
        _provision,
        ("journal.provision_failed", "teardown.roll_back", "teardown.done", "journal.torn_down"),
        _failing_hook,
    ),
    "personal": Scenario(
        _provision_personal, ("provision.before_personal", "provision.personal_made")
    ),
    "switch": Scenario(_switch, ("checkout.before_switch", "checkout.switched"), _branch),
    "destroy": Scenario(_destroy, DESTROY_POINTS, _work),
    "locked": Scenario(
        _destroy,
        ("journal.teardown_failed",),
        _locked,
        complaints=("env_one cannot be torn down",),
    ),
    "retire": Scenario(
        _retire,
        ("journal.retire", "teardown.stop_processes", "journal.torn_down"),
        _provision_only,
    ),
    "commit": Scenario(
        _commit,
        (
            "publishing.noted",
            "commit.before_add",
            "commit.added",
            "commit.committed",
            "publishing.made",
            "command.before_settle",
            "report.posted",
        ),
        _changed,
    ),
    "merge": Scenario(
        _merge,
        (
            "publishing.noted",
            "merge.marked",
            "merge.worktree_made",
            "merge.merged",
            "merge.committed",
            "merge.before_publish",
            "merge.published",
            "merge.before_cleanup",
            "merge.deregistered",
            "publishing.made",
            "command.before_settle",
        ),
        _committed,
    ),
    "files": Scenario(_write_and_read, ("files.write.rename", "files.read")),
    "terminal": Scenario(
        _terminal, ("terminals.opened", "terminals.exited"), variables={"SHELL": "/bin/sh"}
    ),
    "collect": Scenario(_collect, ("gc.before_remove",), _leave_worktree),
}
