"""``host.*`` against the daemon process: results and error codes on a real disk."""

import base64
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.fakes.stock_server import StockServer
from tests.system.daemon.harness import (
    git,
    make_repository,
    refuse,
    run_daemon_process,
    succeed,
)

pytestmark = pytest.mark.slow

PNG = b"\x89PNG\r\n\x1a\n"


async def test_lists(server: StockServer, data_dir: Path, tmp_path: Path) -> None:
    """Files, paths, branches and templates, with queries and limits."""
    tree = tmp_path / "tree"
    for name in ("src/main.py", "src/maintain.py", "docs/read me.md", ".git/x", "node_modules/x"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("x")
    (tree / "link").symlink_to("src")
    (tmp_path / "root-link").symlink_to(tree)
    files = {"type": "host.list_files", "path": str(tree), "limit": 100}
    paths = {
        **files,
        "type": "host.list_paths",
        "includeFiles": True,
        "includeDirectories": True,
    }
    with trio.fail_after(90):
        async with run_daemon_process(server, data_dir):
            found = await succeed(server, files)
            assert {one["path"] for one in found["files"]} == {
                "src/main.py",
                "src/maintain.py",
                "docs/read me.md",
            }
            assert found["truncated"] is False
            cut = await succeed(server, {**files, "limit": 1})
            assert (len(cut["files"]), cut["truncated"]) == (1, True)
            ranked = await succeed(server, {**files, "query": "mainpy"})
            assert ranked["files"][0] == {"path": "src/main.py", "name": "main.py"}
            gone = await succeed(server, {**files, "path": str(tree / "gone")})
            assert gone == {"files": [], "truncated": False}
            for path in ("relative", str(tmp_path / "root-link"), str(tree / "src/main.py")):
                await refuse(server, {**files, "path": path}, "invalid_path")
                await refuse(server, {**paths, "path": path}, "invalid_path")
            for bad in ({"limit": 0}, {"limit": 10_001}, {"query": "x" * 257}, {"limit": "5"}):
                await refuse(server, {**files, **bad}, "invalid_command")

            listed = (await succeed(server, paths))["paths"]
            order = [one["path"] for one in listed]
            assert order.index("src") < order.index("src/main.py")
            assert all((one["score"], one["positions"]) == (0, []) for one in listed)
            only = await succeed(server, {**paths, "includeFiles": False})
            assert {one["kind"] for one in only["paths"]} == {"directory"}
            ranked = await succeed(server, {**paths, "query": "smain"})
            assert ranked["paths"][0]["path"] == "src/main.py"
            assert ranked["paths"][0]["positions"]
            nothing = {**paths, "includeFiles": False, "includeDirectories": False}
            await refuse(server, nothing, "invalid_command")
            await _branches(server, tmp_path)
            await _templates(server, data_dir)


async def _branches(server: StockServer, tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo")
    for name in ("alpha", "beta", "feature/Alpha"):
        git(repo, "branch", name)
    git(repo, "update-ref", "refs/remotes/origin/far", "main")
    git(repo, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/far")
    git(repo, "branch", "far")
    command = {"type": "host.list_branches", "path": str(repo), "limit": 100}
    found = await succeed(server, command)
    assert found["branches"] == ["far", "alpha", "beta", "feature/Alpha", "main"]
    assert found["remoteBranches"] == ["origin/far"]
    assert (found["defaultBranch"], found["selectedBranch"]) == ("far", None)
    head = git(repo, "rev-parse", "HEAD")
    assert found["checkout"] == {"kind": "branch", "branchName": "main", "headSha": head}
    assert found["operation"] == {"kind": "none"}
    assert found["hasUncommittedChanges"] is False
    some = await succeed(server, {**command, "query": " ALPHA ", "limit": 1})
    assert (some["branches"], some["branchesTruncated"]) == (["alpha"], True)
    assert (some["remoteBranches"], some["remoteBranchesTruncated"]) == ([], False)
    for name, kind in (("beta", "local"), ("origin/far", "remote"), ("none", "missing")):
        chosen = await succeed(server, {**command, "query": "zzz", "selectedBranch": name})
        assert chosen["selectedBranch"] == {"name": name, "kind": kind}
    git(repo, "checkout", "-q", "--detach")
    (repo / "file.txt").write_text("two\n")
    found = await succeed(server, command)
    assert found["checkout"] == {"kind": "detached", "headSha": head}
    assert found["hasUncommittedChanges"] is True
    plain = tmp_path / "plain"
    plain.mkdir()
    none = await succeed(server, {**command, "path": str(plain), "selectedBranch": "main"})
    assert (none["branches"], none["remoteBranches"], none["defaultBranch"]) == ([], [], None)
    assert none["checkout"]["kind"] == "unknown"
    assert none["selectedBranch"] == {"name": "main", "kind": "missing"}
    await refuse(server, {**command, "limit": 1001}, "invalid_command")


async def _templates(server: StockServer, data_dir: Path) -> None:
    command = {"type": "host.list_manager_templates"}
    assert await succeed(server, command) == {"templates": [], "activeName": "default"}
    root = data_dir / "manager-templates"
    for name in ("zeta", "alpha"):
        (root / name).mkdir(parents=True)
    (root / "link").symlink_to(root / "zeta")
    (root / "file").write_text("x")
    (root / "active").write_text(" zeta \nmore\n")
    assert await succeed(server, command) == {
        "templates": [{"name": "alpha"}, {"name": "zeta"}],
        "activeName": "zeta",
    }
    await refuse(server, {**command, "extra": 1}, "invalid_command")


async def test_reading(server: StockServer, data_dir: Path, tmp_path: Path) -> None:
    """Content, encodings, limits, roots, refs and what is refused."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    text, image = root / "note.md", root / "pic.png"
    text.write_text("hé\n")
    image.write_bytes(PNG)
    (root / "raw.bin").write_bytes(b"\xff\xfe")
    (root / "escape").symlink_to("/etc")
    (root / "inside").symlink_to("note.md")
    read = {"type": "host.read_file", "path": str(text)}
    about = {"type": "host.file_metadata", "path": str(text)}
    rooted = {**read, "rootPath": str(root)}
    relative = {
        "type": "host.read_file_relative",
        "rootPath": str(root),
        "path": "note.md",
        "dotfiles": "deny",
    }
    with trio.fail_after(90):
        async with run_daemon_process(server, data_dir):
            found = await succeed(server, read)
            modified = found.pop("modifiedAtMs")
            assert modified == pytest.approx(text.stat().st_mtime * 1000, abs=1)
            assert found == {
                "path": str(text),
                "content": "hé\n",
                "contentEncoding": "utf8",
                "mimeType": "text/markdown",
                "sizeBytes": 4,
            }
            found = await succeed(server, {**read, "path": str(image)})
            assert (found["contentEncoding"], found["mimeType"]) == ("base64", "image/png")
            assert base64.b64decode(found["content"]) == PNG
            raw = await succeed(server, {**read, "path": str(root / "raw.bin")})
            assert raw["contentEncoding"] == "base64"
            assert (await succeed(server, rooted))["content"] == "hé\n"
            linked = {**rooted, "path": str(root / "inside")}
            assert (await succeed(server, linked))["content"] == "hé\n"
            for command in (read, about):
                await refuse(server, {**command, "path": str(root / "gone")}, "ENOENT")
                await refuse(server, {**command, "path": str(root / "sub")}, "invalid_path")
                outside = {"path": "/etc/passwd", "rootPath": str(root)}
                await refuse(server, {**command, **outside}, "invalid_path")
                outside = {"path": str(root / "escape/passwd"), "rootPath": str(root)}
                await refuse(server, {**command, **outside}, "invalid_path")
            stated = await succeed(server, about)
            assert (stated["path"], stated["sizeBytes"]) == (str(text), 4)
            await refuse(server, {**about, "extra": 1}, "invalid_command")
            await refuse(server, {**read, "ref": "HEAD"}, "invalid_command")
            os.truncate(root / "raw.bin", 25 * 1024 * 1024 + 1)
            big = {**read, "path": str(root / "raw.bin")}
            await refuse(server, big, "file_too_large")
            os.truncate(image, 10 * 1024 * 1024 + 1)
            await refuse(server, {**read, "path": str(image)}, "file_too_large")

            found = await succeed(server, relative)
            assert (found["path"], found["content"]) == ("note.md", "hé\n")
            for path in ("/etc/passwd", "../x", "a//b", "./x", "a\\b", "", "sub/.."):
                await refuse(server, {**relative, "path": path}, "invalid_path")
            await refuse(server, {**relative, "path": "escape/passwd"}, "invalid_path")
            await refuse(server, {**relative, "path": "gone"}, "ENOENT")
            (root / ".secret").write_text("x")
            await refuse(server, {**relative, "path": ".secret"}, "ENOENT")
            allowed = {**relative, "path": ".secret", "dotfiles": "allow"}
            assert (await succeed(server, allowed))["content"] == "x"
            await _at_ref(server, tmp_path)


async def _at_ref(server: StockServer, tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", {"a/file.txt": "old\n"})
    path = repo / "a" / "file.txt"
    path.write_text("new\n")
    command = {"type": "host.read_file", "path": str(path), "rootPath": str(repo), "ref": "HEAD"}
    found = await succeed(server, command)
    assert (found["content"], "modifiedAtMs" in found) == ("old\n", False)
    for missing in ({"ref": "nowhere"}, {"path": str(repo / "gone.txt")}):
        found = await succeed(server, {**command, **missing})
        assert (found["content"], found["contentEncoding"], found["sizeBytes"]) == ("", "utf8", 0)
        assert "modifiedAtMs" not in found
    for ref in ("--help", "a..b", "a b", "$(x)"):
        await refuse(server, {**command, "ref": ref}, "invalid_ref")
    await refuse(server, {**command, "path": "/etc/passwd"}, "invalid_path")


async def test_writing_and_deleting(server: StockServer, data_dir: Path, tmp_path: Path) -> None:
    """Atomic writes with their hash, deletes that tell what was there, and what is refused."""
    root = tmp_path / "not" / "yet"
    outside = tmp_path / "outside"
    outside.mkdir()

    def command(kind: str, path: str, **more: Any) -> dict[str, Any]:
        about = {"rootPath": str(root), "path": path, "dotfiles": "deny"}
        return {"type": f"host.{kind}_relative", **about, **more}

    def write(path: str, content: str = "x", encoding: str = "utf8") -> dict[str, Any]:
        return command("write_file", path, content=content, contentEncoding=encoding)

    with trio.fail_after(90):
        async with run_daemon_process(server, data_dir):
            written = await succeed(server, write("a/b.txt", "hé"))
            data = "hé".encode()
            assert (root / "a/b.txt").read_bytes() == data
            assert written["hash"] == hashlib.sha256(data).hexdigest()
            assert (written["path"], written["sizeBytes"]) == ("a/b.txt", 3)
            await succeed(server, write("a/raw", base64.b64encode(PNG).decode(), "base64"))
            assert (root / "a/raw").read_bytes() == PNG
            (root / "dir").mkdir()
            (root / "link").symlink_to(outside)
            (root / "file-link").symlink_to(outside / "x")
            for path in ("dir", "link/x", "file-link", "../x", "/x", "a//b"):
                await refuse(server, write(path), "invalid_path")
            await refuse(server, write(".hidden"), "ENOENT")
            await refuse(server, {**write("x"), "extra": 1}, "invalid_command")
            await refuse(server, write("x", "x", "latin1"), "invalid_command")
            assert list(outside.iterdir()) == []
            assert sorted(one.name for one in (root / "a").iterdir()) == ["b.txt", "raw"]

            gone = await succeed(server, command("delete_file", "a/b.txt"))
            assert gone == {"path": "a/b.txt", "deleted": True, "previousHash": written["hash"]}
            gone = await succeed(server, command("delete_file", "a/b.txt"))
            assert gone == {"path": "a/b.txt", "deleted": False, "previousHash": None}
            for path in ("dir", "file-link"):
                await refuse(server, command("delete_file", path), "invalid_path")
            deleted = await succeed(server, command("delete_path", "a"))
            assert deleted == {"path": "a", "deleted": True}
            assert not (root / "a").exists()
            assert (await succeed(server, command("delete_path", "a")))["deleted"] is False
            await refuse(server, command("delete_path", "no/parent"), "ENOENT")
            await refuse(server, command("delete_path", "link"), "invalid_path")
            elsewhere = {**command("delete_path", "x"), "rootPath": str(tmp_path / "none")}
            assert (await succeed(server, elsewhere))["deleted"] is False

            # One file is written in the order of the commands, whatever else runs.
            rows = [await server.queue(write("same.txt", str(n)), hint=False) for n in range(40)]
            await server.hint()
            for row in rows:
                assert (await server.wait_result(row))["ok"]
            assert (root / "same.txt").read_text() == "39"


async def test_roots_and_paths_that_are_refused(
    server: StockServer, data_dir: Path, tmp_path: Path
) -> None:
    """Each command about a file says of its root and its path what is wrong, and touches nothing."""
    root, link, file = tmp_path / "root", tmp_path / "link", tmp_path / "file"
    (root / "dir").mkdir(parents=True)
    (root / "dir" / "x").write_text("x")
    (root / "file").write_text("x")
    (root / "out").symlink_to(tmp_path)
    link.symlink_to(root)
    file.write_text("x")

    def relative(kind: str, **more: Any) -> dict[str, Any]:
        about = {"rootPath": str(root), "path": "file", "dotfiles": "deny"}
        content = {"content": "y", "contentEncoding": "utf8"} if kind == "write_file" else {}
        return {"type": f"host.{kind}_relative", **about, **content, **more}

    kinds = ("read_file", "write_file", "delete_file", "delete_path")
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir):
            for kind in kinds:
                for bad in (str(link), str(file), "root", "/no\0root"):
                    await refuse(server, relative(kind, rootPath=bad), "invalid_path")
                for bad in ("/file", "dir/../file", "dir//x", "./file", "", "a\\b", "a\0b", ".."):
                    await refuse(server, relative(kind, path=bad), "invalid_path")
                await refuse(server, relative(kind, path="out/file"), "invalid_path")
                await refuse(server, relative(kind, path=".hidden"), "ENOENT")
                await refuse(server, relative(kind, path="dir/.git/x"), "ENOENT")
                await refuse(server, relative(kind, dotfiles="perhaps"), "invalid_command")
                await refuse(server, relative(kind, more=1), "invalid_command")
            gone = str(tmp_path / "gone")
            await refuse(server, relative("read_file", rootPath=gone), "ENOENT")
            for kind in ("delete_file", "delete_path"):
                found = await succeed(server, relative(kind, rootPath=gone))
                assert found["deleted"] is False
            await refuse(server, relative("delete_path", path="no/parent"), "ENOENT")
            assert not (await succeed(server, relative("delete_file", path="no/parent")))[
                "deleted"
            ]
            for path in ("dir", "out"):
                await refuse(server, relative("write_file", path=path), "invalid_path")
                await refuse(server, relative("delete_file", path=path), "invalid_path")
            wrong = relative("write_file", contentEncoding="base64", content="***")
            await refuse(server, wrong, "invalid_command")
            for kind in ("read_file", "file_metadata"):
                command = {"type": f"host.{kind}", "path": str(root / "file")}
                for bad in ({"path": "file"}, {"path": "/no\0path"}, {"rootPath": str(link)}):
                    await refuse(server, {**command, **bad}, "invalid_path")
                await refuse(server, {**command, "rootPath": gone}, "ENOENT")
            assert sorted(one.name for one in root.iterdir()) == ["dir", "file", "out"]
            assert (root / "file").read_text() == "x"
            assert sorted(one.name for one in (root / "dir").iterdir()) == ["x"]


async def test_errors_of_the_system_keep_their_names(
    server: StockServer, data_dir: Path, tmp_path: Path
) -> None:
    """A full disk is ENOSPC, a name too long is ENAMETOOLONG; nothing half-written stays."""
    base = {"rootPath": str(tmp_path / "root"), "dotfiles": "deny"}
    write = {"type": "host.write_file_relative", "content": "x", "contentEncoding": "utf8", **base}
    fault = {"BBHOST_FAULT": "raise:files.write.rename"}
    with trio.fail_after(60):
        async with run_daemon_process(server, data_dir, environ=fault):
            await refuse(server, {**write, "path": "full.txt"}, "ENOSPC")
            assert list((tmp_path / "root").iterdir()) == []
            long = {"type": "host.read_file", "path": f"{tmp_path}/{'x' * 300}"}
            await refuse(server, long, "ENAMETOOLONG")
