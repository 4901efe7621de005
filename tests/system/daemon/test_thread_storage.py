"""Thread storage and app data: what changes there reaches the server, and nothing else does."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.fakes.stock_server import StockServer
from tests.system.daemon.harness import refuse, run_daemon_process, succeed

pytestmark = pytest.mark.slow

ENV, THREAD, OTHER = "env_one", "thr_one", "thr_other"


def version_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Storage:
    """The thread-storage directory, and what the server was told of it."""

    def __init__(self, server: StockServer, data_dir: Path) -> None:
        self.server = server
        self.root = data_dir / "thread-storage"
        self.data = self.root / THREAD / "apps" / "board" / "data"
        server.environments[ENV] = "ready"
        server.threads[THREAD] = ENV
        server.tracked_threads = [{"environmentId": ENV, "threadId": THREAD}]

    def values(self) -> list[tuple[str, Any, bool]]:
        """App data changes so far: path, value, deleted."""
        return [
            (one["path"], one["value"], one["deleted"])
            for one in self.server.app_data
            if "path" in one
        ]

    def resyncs(self) -> list[str]:
        return [one["appId"] for one in self.server.app_data if "path" not in one]

    def storage_changes(self) -> int:
        return self.server.changes.count((ENV, "thread-storage-changed"))

    async def write(self, name: str, content: bytes) -> None:
        path = self.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        await trio.Path(path).write_bytes(content)

    async def until(self, **wanted: Any) -> None:
        """Wait until a change of app data with these fields was posted."""
        await self.server.wait(
            lambda: any(wanted.items() <= one.items() for one in self.server.app_data)
        )


async def test_app_data_is_posted_file_by_file(server: StockServer, data_dir: Path) -> None:
    """New, changed and deleted values are posted; equal, invalid, oversized and hidden ones are not."""
    storage = Storage(server, data_dir)
    await storage.write("old.json", b'{"old": 1}')
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir) as daemon:
            # At session open every app reads its data anew, and no value is posted.
            await server.wait(lambda: storage.resyncs() == ["board"])
            assert storage.values() == []

            await storage.write("state/one.json", b'{"n": 1}')
            await storage.until(path="state/one.json", value={"n": 1})
            assert server.app_data[-1]["version"] == version_of(b'{"n": 1}')
            assert server.app_data[-1]["appId"] == "board"

            # Touched and rewritten with equal content: nothing. Invalid JSON, too large, a hidden
            # name, a link: nothing but a warning. The last write shows that all were looked at.
            await storage.write("old.json", b'{"old": 1}')
            await storage.write("state/one.json", b'{"n": 1}')
            await storage.write("broken.json", b"{")
            await storage.write("infinite.json", b"Infinity")
            await storage.write("large.json", b'"' + b"x" * (25 * 1024 * 1024) + b'"')
            await storage.write(".hidden.json", b"1")
            (storage.data / "link.json").symlink_to("/etc/hostname")
            before = len(storage.values())
            await storage.write("zz.json", b"[1]")
            await storage.until(path="zz.json", value=[1])
            assert storage.values()[before:] == [("zz.json", [1], False)]
            await daemon.poll(lambda: daemon.log_text().count("is left out") >= 4)

            (storage.data / "state" / "one.json").unlink()
            await storage.until(path="state/one.json", deleted=True, version=None, value=None)
            assert storage.storage_changes() == 0  # app data is not also "storage changed"


async def test_everything_else_is_storage_changed(server: StockServer, data_dir: Path) -> None:
    """Files outside app data are one kind of change, also in directories made in a burst."""
    storage = Storage(server, data_dir)
    untracked = storage.root / OTHER
    untracked.mkdir(parents=True)
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir) as daemon:
            await daemon.poll(lambda: daemon.inotify_watches() > 0)
            deep = storage.root / THREAD / "notes" / "a" / "b" / "c"
            deep.mkdir(parents=True)
            await server.wait(lambda: storage.storage_changes() > 0)
            for number in range(3):
                seen = storage.storage_changes()
                (deep / "note.md").write_text(f"{number}\n")
                await server.wait(lambda seen=seen: storage.storage_changes() > seen)
            # A manifest is not data; a thread that is not tracked is not reported.
            seen = storage.storage_changes()
            (untracked / "x").write_text("x")
            (storage.data.parent).mkdir(parents=True, exist_ok=True)
            (storage.data.parent / "manifest.json").write_text("{}")
            await server.wait(lambda: storage.storage_changes() > seen)
            assert {change[0] for change in server.changes} == {ENV}


async def test_tracking_follows_the_session(server: StockServer, data_dir: Path) -> None:
    """Nothing tracked, nothing watched; each session's targets replace the last; 410 ends reports."""
    storage = Storage(server, data_dir)
    server.tracked_threads = []
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir) as daemon:
            assert daemon.inotify_watches() == 0
            await storage.write("one.json", b"1")
            server.tracked_threads = [{"environmentId": ENV, "threadId": THREAD}]
            await server.drop_socket()
            await server.wait_connected()
            await server.wait(lambda: storage.resyncs() == ["board"])

            # Written while the link is down: no value is posted, the resync makes it good.
            server.refuses_sockets = True
            await server.drop_socket()
            await storage.write("one.json", b"2")
            server.refuses_sockets = False
            await server.wait_connected()
            await server.wait(lambda: storage.resyncs() == ["board", "board"])
            await storage.write("one.json", b"3")
            await storage.until(path="one.json", value=3, version=version_of(b"3"))

            server.environments[ENV] = "destroyed"
            (storage.root / THREAD / "file").write_text("x")
            await daemon.poll(lambda: daemon.inotify_watches() == 0)
            assert storage.storage_changes() == 0
            assert json.loads((storage.data / "one.json").read_text()) == 3


async def test_the_storage_directory_is_made_when_a_thread_is_tracked(
    server: StockServer, data_dir: Path, tmp_path: Path
) -> None:
    """Also a configured one; what is written there is noticed."""
    storage = Storage(server, data_dir)
    storage.root = tmp_path / "elsewhere" / "storage"
    with trio.fail_after(60):
        flags = ("--thread-storage", str(storage.root))
        async with run_daemon_process(server, data_dir, *flags) as daemon:
            await daemon.poll(storage.root.is_dir)
            (storage.root / THREAD).mkdir()
            number = 0
            # What is written before the first look counts as known, so more than one may be needed.
            while not storage.storage_changes():
                number += 1
                (storage.root / THREAD / "x").write_text("x" * number)
                with trio.move_on_after(1):
                    await server.wait(storage.storage_changes)


async def test_a_deleted_thread_stays_deleted(server: StockServer, data_dir: Path) -> None:
    """Its storage goes with everything in it, is no longer watched, and no late write brings it back."""
    storage = Storage(server, data_dir)
    await storage.write("one.json", b"1")
    write = {
        "type": "host.write_file_relative",
        "rootPath": str(storage.data),
        "path": "late.json",
        "dotfiles": "deny",
        "content": "1",
        "contentEncoding": "utf8",
    }
    deleted = {"type": "thread.deleted", "environmentId": ENV, "threadId": THREAD}
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir) as daemon:
            await server.wait(lambda: storage.resyncs() == ["board"])
            await succeed(server, write)
            await storage.until(path="late.json", value=1)
            assert await succeed(server, deleted) == {}
            assert not (storage.root / THREAD).exists()
            await daemon.poll(lambda: daemon.inotify_watches() == 0)
            assert "deleted" in await refuse(server, write, "ENOENT")
            assert not (storage.root / THREAD).exists()
            assert await succeed(server, deleted) == {}
            await refuse(server, {**deleted, "threadId": "../x"}, "invalid_path")
            assert [one for one in storage.values() if one[2]] == []
