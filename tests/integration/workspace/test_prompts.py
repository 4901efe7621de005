"""Git asks nobody for a password: there is nobody, and a question in the background waits for ever."""

import os
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from bbhost.errors import BbhostError
from bbhost.workspace.git import Git

pytestmark = pytest.mark.slow


@pytest.fixture
async def locked_remote() -> AsyncIterator[str]:
    """Address of a repository that wants a password."""

    async def refuse(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(4096)
            await stream.send_all(
                b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=x\r\n"
                b"Content-Length: 0\r\nConnection: close\r\n\r\n"
            )

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, refuse, [listener])
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}/repo.git"
        nursery.cancel_scope.cancel()


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there when a program that asks for passwords has been run."""
    mark, program = tmp_path / "asked", tmp_path / "askpass"
    program.write_text(f"#!/bin/sh\ntouch {mark}\necho secret\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    for name in ("GIT_ASKPASS", "SSH_ASKPASS"):
        monkeypatch.setenv(name, str(program))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    monkeypatch.setenv("DISPLAY", ":0")
    return mark


async def test_git_asks_nobody_for_a_password(
    locked_remote: str, asked: Path, tmp_path: Path
) -> None:
    """It fails at once, and the user's program that would ask is not run."""
    with trio.fail_after(60):
        with pytest.raises(BbhostError):
            await Git().run("ls-remote", locked_remote, cwd=tmp_path)
        assert not asked.exists()


async def test_plain_git_would_have_asked(locked_remote: str, asked: Path, tmp_path: Path) -> None:
    """So the test above can fail."""
    with trio.fail_after(60):
        await trio.run_process(
            ["git", "ls-remote", locked_remote],
            cwd=tmp_path,
            env=dict(os.environ),
            check=False,
            stderr=subprocess.DEVNULL,
        )
        assert asked.exists()
