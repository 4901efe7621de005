"""Real faults of the machine around the daemon: it says so, loses nothing, and goes on when they are over."""

import errno
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from bbhost.daemon.assembly import JOURNAL_NAME
from tests.fakes.stock_server import StockServer, run_stock_server
from tests.system.daemon.harness import (
    DaemonProcess,
    context_of,
    git,
    refuse,
    run_daemon_process,
    succeed,
    unmanaged_context,
    unmanaged_spec,
    worktree_spec,
)

pytestmark = pytest.mark.slow
ONE, TWO = "env_one", "env_two"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own, to be the data directory."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m,mode=700", "none", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def remount(place: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", place], check=True, capture_output=True)


def fill(place: Path, leave_bytes: int = 0) -> Path:
    """Fill a file system; return the file that does."""
    path = place / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    if leave_bytes:
        os.truncate(path, path.stat().st_size - leave_bytes)
    return path


def destroy_command(data_dir: Path, environment_id: str, repo: Path) -> dict[str, Any]:
    return {
        "type": "environment.destroy",
        "environmentId": environment_id,
        "workspaceContext": context_of(data_dir, environment_id, repo),
    }


def status_command(environment_id: str, context: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "workspace.status",
        "environmentId": environment_id,
        "workspaceContext": context,
    }


async def findings(daemon: DaemonProcess) -> list[str]:
    """What the doctor has against it."""
    report = await daemon.control("GET", "/doctor")
    return [
        f"{one['check']}: {one['what']}"
        for one in report["findings"]
        if one["severity"] in {"warning", "error"} and one["check"] not in {"disk_space", "disk"}
    ]


async def wait_watching(daemon: DaemonProcess) -> None:
    async def watching() -> bool:
        watch = (await daemon.control("GET", "/status"))["watch"]
        return not watch["unsettled"]

    await daemon.poll(watching)


def open_descriptors(daemon: DaemonProcess) -> int:
    return len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))


# --- the disk -----------------------------------------------------------------------------------


@needs_root
async def test_a_full_disk(server: StockServer, mounted: Path, repo: Path) -> None:
    """Nothing can be kept: nothing is lost, health says why; with room again everything is answered."""
    data_dir = mounted
    server.environments |= {ONE: "ready", TWO: "ready"}
    server.redelivery_seconds = server.provision_redelivery_seconds = 60.0
    with trio.fail_after(110):
        async with run_daemon_process(server, data_dir) as daemon:
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            (Path(context_of(data_dir, ONE, repo)["workspacePath"]) / "new.txt").write_text("work")
            filler = fill(mounted)
            rows = [
                await server.queue(command)
                for command in (
                    worktree_spec(data_dir, TWO, repo),
                    destroy_command(data_dir, ONE, repo),
                    status_command("env_own", unmanaged_context(repo)),
                )
            ]

            async def is_ailing() -> bool:
                health = await daemon.control("GET", "/health")
                return health["health"] != "ok" and "journal" in str(health["reasons"])

            await daemon.poll(is_ailing)
            assert daemon.process.returncode is None
            filler.unlink()
            provisioned, destroyed, status = [await server.wait_result(row) for row in rows]
            assert status["ok"], status
            for report in (provisioned, destroyed):
                assert report["ok"] or "disk is full" in report["errorMessage"], report
            await succeed(server, worktree_spec(data_dir, TWO, repo))
            await succeed(server, destroy_command(data_dir, ONE, repo))
            names = git(repo, "for-each-ref", "--format=%(refname)", f"refs/bbhost/rescue/{ONE}")
            assert names, "the work is kept"
            assert len(git(repo, "worktree", "list").splitlines()) == 2
            assert await findings(daemon) == []
            assert await daemon.terminate() == 0


@needs_root
async def test_too_little_room_for_a_worktree(
    server: StockServer, mounted: Path, repo: Path
) -> None:
    """Provisioning fails and leaves nothing; destroying works while it is full, and makes the room."""
    data_dir = mounted
    (repo / "large.bin").write_bytes(os.urandom(3 * 1024 * 1024))
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "large")
    server.environments |= {ONE: "ready", TWO: "ready"}
    with trio.fail_after(110):
        async with run_daemon_process(server, data_dir) as daemon:
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            fill(mounted, leave_bytes=1024 * 1024)
            report = await server.run_command(worktree_spec(data_dir, TWO, repo))
            assert not report["ok"]
            # Git's own words; it does not always say that it is for want of space.
            assert "large.bin" in report["errorMessage"], report
            assert not (data_dir / "worktrees" / TWO).exists()
            assert len(git(repo, "worktree", "list").splitlines()) == 2
            await succeed(server, destroy_command(data_dir, ONE, repo))
            await daemon.poll(lambda: shutil.disk_usage(mounted).free > 3 * 1024 * 1024)
            await succeed(server, worktree_spec(data_dir, TWO, repo))
            assert await findings(daemon) == []
            assert await daemon.terminate() == 0


@needs_root
async def test_a_disk_that_is_full_when_it_starts(
    server: StockServer, mounted: Path, repo: Path
) -> None:
    """It says so and ends, or makes do with the room of its files; with room it finishes what was begun."""
    data_dir = mounted
    server.environments[ONE] = "ready"
    with trio.fail_after(110):
        async with run_daemon_process(
            server, data_dir, environ={"BBHOST_FAULT": "kill:teardown.deregister"}
        ) as daemon:
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            row = await server.queue(destroy_command(data_dir, ONE, repo))
            assert await daemon.wait() == -signal.SIGKILL
        filler = fill(mounted)
        async with run_daemon_process(server, data_dir, connected=False) as daemon:
            with trio.move_on_after(8):
                assert await daemon.wait() == 1
                assert "disk is full" in daemon.log_text() or "No space" in daemon.log_text()
        filler.unlink()
        async with run_daemon_process(server, data_dir) as daemon:
            assert (await server.wait_result(row))["ok"]
            assert len(git(repo, "worktree", "list").splitlines()) == 1
            assert await findings(daemon) == []
            assert await daemon.terminate() == 0


@needs_root
async def test_a_data_directory_that_is_read_only(server: StockServer, mounted: Path) -> None:
    """One clear sentence, and the exit code of a start that failed."""
    data_dir = mounted
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir) as daemon:
            await daemon.terminate()
        remount(mounted, "ro")
        async with run_daemon_process(server, data_dir, connected=False) as daemon:
            assert await daemon.wait() == 1
        assert "Read-only file system" in daemon.log_text()
        assert "Traceback" not in daemon.log_text()
        remount(mounted, "rw")
        async with run_daemon_process(server, data_dir) as daemon:
            assert await daemon.terminate() == 0


@needs_root
async def test_worktrees_that_become_read_only(
    server: StockServer, data_dir: Path, repo: Path
) -> None:
    """What cannot be made or removed fails with a reason, and works when it can be written again."""
    root = data_dir / "worktrees"
    root.mkdir(parents=True, mode=0o700)
    data_dir.chmod(0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", root], check=True)
    server.environments |= {ONE: "ready", TWO: "ready"}
    path = Path(context_of(data_dir, ONE, repo)["workspacePath"])
    try:
        with trio.fail_after(110):
            async with run_daemon_process(server, data_dir) as daemon:
                await succeed(server, worktree_spec(data_dir, ONE, repo))
                remount(root, "ro")
                for command in (
                    worktree_spec(data_dir, TWO, repo),
                    destroy_command(data_dir, ONE, repo),
                ):
                    report = await server.run_command(command)
                    assert not report["ok"]
                    assert "Read-only" in report["errorMessage"], report
                assert path.is_dir()
                context = context_of(data_dir, ONE, repo)
                await succeed(server, status_command(ONE, context))
                remount(root, "rw")
                await succeed(server, destroy_command(data_dir, ONE, repo))
                await succeed(server, worktree_spec(data_dir, TWO, repo))
                assert not path.exists()
                assert await findings(daemon) == []
                assert await daemon.terminate() == 0
    finally:
        subprocess.run(["umount", "-l", root], check=True)


# --- the kernel's limits ------------------------------------------------------------------------


async def test_no_more_descriptors(server: StockServer, data_dir: Path, repo: Path) -> None:
    """Commands fail with a reason while there are none; afterwards all is as before, none is lost."""
    # The session may be lost meanwhile, and the next one says what the server wants.
    server.environments |= {ONE: "ready", "env_own": "ready"}
    own = status_command("env_own", unmanaged_context(repo))
    with trio.fail_after(110):
        async with run_daemon_process(server, data_dir) as daemon:
            await succeed(server, own)
            await wait_watching(daemon)
            pid, before = daemon.process.pid, open_descriptors(daemon)
            limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            highest = max(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir())
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 3, limits[1]))
            rows = [await server.queue(worktree_spec(data_dir, ONE, repo))]
            rows += [await server.queue(own) for _ in range(20)]
            (repo / "new.txt").write_text("x")
            # Long enough for connections, children and watches to be tried in vain.
            await trio.sleep(3)
            assert daemon.process.returncode is None, daemon.log_text()
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
            await server.redeliver_now()  # what was handed out over a connection that broke
            for row in rows:
                report = await server.wait_result(row)
                assert report["ok"] or report["errorMessage"], report
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            answer = await succeed(server, own)
            assert [f["path"] for f in answer["workspaceStatus"]["workingTree"]["files"]] == [
                "new.txt"
            ]
            await succeed(server, destroy_command(data_dir, ONE, repo))
            await wait_watching(daemon)
            await daemon.poll(lambda: open_descriptors(daemon) <= before + 2)
            assert await findings(daemon) == []
            assert await daemon.terminate() == 0


@pytest.mark.parametrize("limit", ["max_inotify_watches", "max_inotify_instances"])
async def test_no_more_inotify(
    server: StockServer, data_dir: Path, repo: Path, limit: str
) -> None:
    """Where the kernel gives no watch, changes are noticed all the same, by looking."""
    probe = ["unshare", "--user", "--map-root-user", "sh", "-c"]
    allowed = {"max_inotify_watches": 4, "max_inotify_instances": 0}[limit]
    script = f'echo {allowed} > /proc/sys/user/{limit} && exec "$@"'
    if subprocess.run([*probe, script, "sh", "true"], check=False).returncode:
        pytest.skip("no user namespaces here")
    server.environments |= {ONE: "ready", TWO: "ready"}
    with trio.fail_after(110):
        async with run_daemon_process(server, data_dir, wrapper=[*probe, script, "sh"]) as daemon:
            for name in (ONE, TWO):
                await succeed(server, worktree_spec(data_dir, name, repo))
            await wait_watching(daemon)
            for name in (ONE, TWO):
                path = Path(context_of(data_dir, name, repo)["workspacePath"])
                # What is told is what differs from what was told before.
                await succeed(server, status_command(name, context_of(data_dir, name, repo)))
                (path / "d1" / "new.txt").write_text("x")
                await server.wait(
                    lambda name=name: (name, "work-status-changed") in server.changes
                )
                status = await succeed(
                    server, status_command(name, context_of(data_dir, name, repo))
                )
                files = status["workspaceStatus"]["workingTree"]["files"]
                assert [one["path"] for one in files] == ["d1/new.txt"]
                await succeed(server, destroy_command(data_dir, name, repo))
            assert daemon.inotify_watches() == 0
            assert await daemon.terminate() == 0


# --- the server and the clock --------------------------------------------------------------------


async def test_the_server_is_gone(server: StockServer, data_dir: Path, repo: Path) -> None:
    """Work goes on while it is away; what happened meanwhile is told when it is back, and only once."""
    (repo / ".bb-env-setup.sh").write_text("while [ ! -e ../../../go ]; do sleep 0.1; done\n")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "set-up")
    server.environments |= {ONE: "ready", "env_own": "ready"}
    server.provision_redelivery_seconds = 600.0
    own = unmanaged_spec("env_own", repo)
    # An hour of waits that grow to half a minute, shortened: as many attempts, a second apart.
    with trio.fail_after(110):
        async with run_daemon_process(
            server, data_dir, "--reconnect-longest-seconds", "1"
        ) as daemon:
            await succeed(server, own)
            await succeed(server, status_command("env_own", unmanaged_context(repo)))
            await wait_watching(daemon)
            row = await server.queue(worktree_spec(data_dir, ONE, repo))
            await daemon.poll(lambda: (data_dir / "worktrees" / ONE).exists())
            server.changes.clear()
            gone = {"code": "internal_error", "message": "gone"}
            server.fail("session/open", 503, gone, times=6)
            before = server.session
            await server.drop_socket()
            (data_dir / "go").touch()
            (repo / "new.txt").write_text("x")
            await server.wait(lambda: not server.faults)
            await server.wait_connected(other_than=before)
            assert (await server.wait_result(row))["ok"]
            assert row.deliveries == 1
            await server.wait(lambda: ("env_own", "work-status-changed") in server.changes)
            assert await findings(daemon) == []
            assert await daemon.terminate() == 0


async def test_suspended_past_its_lease(data_dir: Path, repo: Path) -> None:
    """The server has given the session up; the daemon comes back with a new one and tells of everything."""
    async with run_stock_server(
        heartbeat_interval_ms=500, lease_timeout_ms=2000, sweep_seconds=0.3
    ) as server:
        server.environments["env_own"] = "ready"
        own = status_command("env_own", unmanaged_context(repo))
        with trio.fail_after(90):
            async with run_daemon_process(server, data_dir) as daemon:
                await succeed(server, own)
                await wait_watching(daemon)
                server.changes.clear()
                before = server.session
                daemon.process.send_signal(signal.SIGSTOP)
                await server.wait(lambda: server.session is None)
                (repo / "new.txt").write_text("x")
                row = await server.queue(own)
                daemon.process.send_signal(signal.SIGCONT)
                await server.wait_connected(other_than=before)
                report = await server.wait_result(row)
                files = report["result"]["workspaceStatus"]["workingTree"]["files"]
                assert [one["path"] for one in files] == ["new.txt"]
                await server.wait(lambda: ("env_own", "work-status-changed") in server.changes)
                assert await findings(daemon) == []
                assert await daemon.terminate() == 0


@pytest.fixture
def clock_shift(tmp_path: Path) -> Path:
    """A library that lets a process's wall clock be set."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    source = Path(__file__).parents[2] / "fakes" / "clock_shift.c"
    library = tmp_path / "clock_shift.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


async def test_the_clock_jumps(
    server: StockServer, data_dir: Path, repo: Path, clock_shift: Path, tmp_path: Path
) -> None:
    """A year ahead, a day behind: the session holds, nothing is late, stale or thrown away."""
    shift = tmp_path / "shift"
    shift.write_text("0")
    server.environments |= {ONE: "ready", TWO: "ready"}
    variables = {"LD_PRELOAD": str(clock_shift), "CLOCK_SHIFT_FILE": str(shift)}
    context = context_of(data_dir, ONE, repo)
    path = Path(context["workspacePath"])
    with trio.fail_after(110):
        async with run_daemon_process(server, data_dir, environ=variables) as daemon:
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            await succeed(server, status_command(ONE, context))
            await wait_watching(daemon)
            session = server.session
            assert session is not None
            for number, seconds in enumerate((365 * 86400, -86400, 0)):
                shift.write_text(str(seconds))
                server.changes.clear()
                heartbeats = session.heartbeats
                (path / f"new{number}.txt").write_text("x")
                await server.wait(lambda: (ONE, "work-status-changed") in server.changes)
                status = await succeed(server, status_command(ONE, context))
                files = status["workspaceStatus"]["workingTree"]["files"]
                assert len(files) == number + 1
                await succeed(server, worktree_spec(data_dir, TWO, repo))
                await succeed(server, destroy_command(data_dir, TWO, repo))
                await server.wait(lambda before=heartbeats: session.heartbeats >= before + 2)
            assert server.session is session
            await succeed(server, destroy_command(data_dir, ONE, repo))
            assert git(repo, "for-each-ref", "--format=%(refname)", f"refs/bbhost/rescue/{ONE}")
            assert await findings(daemon) == []
            assert await daemon.terminate() == 0


# --- git and signals ------------------------------------------------------------------------------


def slow_git(tmp_path: Path, verb: str) -> str:
    """A PATH whose git sleeps when it is asked for ``verb`` while the file ``hang`` exists."""
    tools = tmp_path / "tools"
    tools.mkdir()
    real = shutil.which("git")
    script = tools / "git"
    script.write_text(
        "#!/bin/sh\n"
        f'[ -e {tmp_path}/hang ] && for a in "$@"; do [ "$a" = {verb} ] && exec sleep 313; done\n'
        f'exec {real} "$@"\n'
    )
    script.chmod(0o755)
    (tmp_path / "hang").touch()
    return f"{tools}:{os.environ['PATH']}"


async def test_git_hangs(server: StockServer, data_dir: Path, repo: Path, tmp_path: Path) -> None:
    """A deadline ends what hangs and answers for it; meanwhile everybody else is answered."""
    server.redelivery_seconds = 60.0
    server.environments |= {ONE: "ready"}
    own = status_command("env_own", unmanaged_context(repo))
    with trio.fail_after(110):
        async with run_daemon_process(
            server,
            data_dir,
            *("--git-look-seconds", "2"),
            environ={"PATH": slow_git(tmp_path, "status")},
        ) as daemon:
            rows = [await server.queue(own) for _ in range(8)]
            listing = {"type": "host.list_files", "path": str(repo), "limit": 10}
            for _ in range(5):
                await succeed(server, listing)
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            assert not all(row.settled.is_set() for row in rows)
            for row in rows:
                assert (await server.wait_result(row))["errorCode"] == "git_command_timeout"
            (tmp_path / "hang").unlink()
            await succeed(server, own)
            await daemon.poll(lambda: not any(b"313" in one for one in sleepers(daemon)))
            await succeed(server, destroy_command(data_dir, ONE, repo))
            assert await daemon.terminate() == 0


async def test_destroying_ends_a_provisioning_whose_git_hangs(
    server: StockServer, data_dir: Path, repo: Path, tmp_path: Path
) -> None:
    """The order to destroy reaches the git child; nothing of it is left."""
    server.environments |= {ONE: "ready"}
    with trio.fail_after(90):
        async with run_daemon_process(
            server, data_dir, environ={"PATH": slow_git(tmp_path, "add")}
        ) as daemon:
            row = await server.queue(worktree_spec(data_dir, ONE, repo))
            await daemon.poll(lambda: any(b"313" in one for one in sleepers(daemon)))
            await succeed(server, destroy_command(data_dir, ONE, repo))
            report = await server.wait_result(row)
            assert report["errorCode"] == "environment_destroyed", report
            assert server.settled_order[-2] == row.command_id, "in the order of the lane"
            assert not [one for one in sleepers(daemon) if b"313" in one]
            assert not (data_dir / "worktrees" / ONE).exists()
            assert len(git(repo, "worktree", "list").splitlines()) == 1
            assert await daemon.terminate() == 0


def sleepers(daemon: DaemonProcess) -> list[bytes]:
    """Command lines of the daemon's children."""
    found = []
    for task in Path(f"/proc/{daemon.process.pid}/task").iterdir():
        try:
            children = (task / "children").read_text().split()
            found += [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children]
        except OSError:
            continue
    return found


async def test_a_storm_of_signals(server: StockServer, data_dir: Path, repo: Path) -> None:
    """Thousands of interrupted system calls, while children come and go: nobody notices."""
    names = [f"env_{number}" for number in range(4)]
    server.environments |= dict.fromkeys(names, "ready")
    server.redelivery_seconds = 60.0
    sent = 0
    with trio.fail_after(110):
        async with run_daemon_process(server, data_dir) as daemon:
            async with trio.open_nursery() as storm:

                async def strike() -> None:
                    nonlocal sent
                    while True:
                        for number in (signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH):
                            for task in list(Path(f"/proc/{daemon.process.pid}/task").iterdir()):
                                tgkill(daemon.process.pid, int(task.name), number)
                                sent += 1
                        if sent % 50 == 0:
                            daemon.process.send_signal(signal.SIGHUP)
                        await trio.sleep(0.001)

                storm.start_soon(strike)
                for name in names:
                    await succeed(server, worktree_spec(data_dir, name, repo))
                    context = context_of(data_dir, name, repo)
                    await succeed(server, status_command(name, context))
                    (Path(context["workspacePath"]) / "new.txt").write_text("x")
                    await server.wait(
                        lambda name=name: (name, "work-status-changed") in server.changes
                    )
                for name in names:
                    await succeed(server, destroy_command(data_dir, name, repo))
                storm.cancel_scope.cancel()
            assert sent > 1000
            assert daemon.inotify_watches() == 0
            bad = [one for one in daemon.log_entries() if one["level"] in {"error", "critical"}]
            assert bad == []
            assert await daemon.terminate() == 0


def tgkill(pid: int, thread: int, number: int) -> None:
    """Signal one thread of a process."""
    import ctypes

    ctypes.CDLL(None).syscall(234, pid, thread, int(number))


# --- the ground gives way ---------------------------------------------------------------------------


async def test_a_repository_that_is_deleted(
    server: StockServer, data_dir: Path, repo: Path
) -> None:
    """Its checkout is gone: told as such, watched no more. Its worktrees can still be destroyed."""
    server.environments |= {ONE: "ready", "env_own": "ready"}
    own = status_command("env_own", unmanaged_context(repo))
    path = Path(context_of(data_dir, ONE, repo)["workspacePath"])
    with trio.fail_after(90):
        async with run_daemon_process(server, data_dir) as daemon:
            await succeed(server, unmanaged_spec("env_own", repo))
            await succeed(server, own)
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            await wait_watching(daemon)
            (path / "new.txt").write_text("work")
            shutil.rmtree(repo)
            await refuse(server, own, "path_not_found")
            report = await server.run_command(status_command(ONE, context_of(data_dir, ONE, repo)))
            assert not report["ok"]
            assert report["errorMessage"]
            await succeed(server, destroy_command(data_dir, ONE, repo))
            assert not path.exists()
            # No repository could take the work: the trash keeps it.
            kept = list((data_dir / "trash").glob("*/files/new.txt"))
            assert [one.read_text() for one in kept] == ["work"]
            await succeed(server, {**own, "type": "environment.destroy"})
            await daemon.poll(lambda: daemon.inotify_watches() == 0)
            assert await daemon.terminate() == 0


@pytest.mark.parametrize("damage", ["corrupt", "newer", "foreign", "text"])
async def test_a_journal_that_cannot_be_used(
    server: StockServer, data_dir: Path, repo: Path, damage: str
) -> None:
    """A clear sentence, exit code 1, and the file is as it was: it may be all there is."""
    server.environments[ONE] = "ready"
    journal = data_dir / JOURNAL_NAME
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir) as daemon:
            await succeed(server, worktree_spec(data_dir, ONE, repo))
            assert await daemon.terminate() == 0
        if damage == "corrupt":
            content = bytearray(journal.read_bytes())
            content[4096:] = os.urandom(len(content) - 4096)
            journal.write_bytes(content)
        elif damage == "text":
            journal.write_text("not a database at all, but somebody's text\n")
        else:
            pragma = "user_version = 999" if damage == "newer" else "application_id = 7"
            connection = sqlite3.connect(journal)
            connection.execute(f"PRAGMA {pragma}")
            connection.close()
        before = journal.read_bytes()
        async with run_daemon_process(server, data_dir, connected=False) as daemon:
            assert await daemon.wait() == 1
        assert journal.read_bytes() == before
        errors = [one["message"] for one in daemon.log_entries() if one["level"] == "error"]
        assert len(errors) == 1, errors
        assert str(journal) in errors[0]
        assert "left as it is" in errors[0] or "left as it was" in errors[0], errors
        assert "Traceback" not in daemon.log_text()
        assert json.dumps(errors)
        assert Path(context_of(data_dir, ONE, repo)["workspacePath"]).is_dir()
