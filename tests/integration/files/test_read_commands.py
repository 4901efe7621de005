"""host.read_file, host.read_file_relative and host.file_metadata."""

import base64
import os
import subprocess
from pathlib import Path

import pytest
import trio

from bbhost.contract.commands import (
    HostFileMetadata,
    HostListManagerTemplates,
    HostReadFile,
    HostReadFileRelative,
)
from bbhost.contract.results import FileRead
from bbhost.errors import BbhostError, GitCommandError
from bbhost.workspace.files import content
from bbhost.workspace.files.service import HostFiles
from tests.integration.files.conftest import World


async def code_of(awaitable: object) -> str:
    with pytest.raises(BbhostError) as caught:
        await awaitable  # type: ignore[misc]
    assert caught.value.message
    return caught.value.code


async def test_a_text_file_is_read(files: HostFiles, world: World) -> None:
    file = world.write("src/a.txt", "ä\n")
    for root in (None, str(world.root)):
        found = await files.read_file(HostReadFile(str(file), root))
        assert found == FileRead(
            str(file), "ä\n", "utf8", 3, "text/plain", file.stat().st_mtime_ns / 1_000_000
        )


async def test_encoding_and_type_follow_the_rules(files: HostFiles, world: World) -> None:
    cases = {
        "picture.png": (b"plain text", "base64", "image/png"),
        "picture.svg": (b"<svg/>", "utf8", "image/svg+xml"),
        "broken.svg": (b"\xff", "base64", "image/svg+xml"),
        "data.json": (b"\xfe\xff", "base64", "application/json"),
        "unknown.zzz": (b"text", "utf8", None),
        "Makefile": (b"all:", "utf8", None),
        ".png": (b"text", "utf8", None),
        "EMPTY.TXT": (b"", "utf8", "text/plain"),
    }
    for name, (data, encoding, mime_type) in cases.items():
        (world.root / name).write_bytes(data)
        found = await files.read_file(HostReadFile(str(world.root / name)))
        decoded = (
            base64.b64decode(found.content) if encoding == "base64" else found.content.encode()
        )
        assert (decoded, found.content_encoding, found.mime_type) == (data, encoding, mime_type)


async def test_links_are_followed_only_within_the_root(files: HostFiles, world: World) -> None:
    world.write("real/file", "inside")
    (world.root / "relative").symlink_to("real/file")
    (world.root / "absolute").symlink_to(world.root / "real")
    (world.root / "out").symlink_to(world.outside / "secret")
    (world.root / "sibling").symlink_to("../root-evil/secret")
    root = str(world.root)

    for name in ("relative", "absolute/file"):
        assert (await files.read_file(HostReadFile(f"{root}/{name}", root))).content == "inside"
        relative = HostReadFileRelative(root, name, "deny")
        assert (await files.read_file_relative(relative)).content == "inside"
        assert (
            await files.file_metadata(HostFileMetadata(f"{root}/{name}", root))
        ).size_bytes == 6
    for name in ("out", "sibling"):
        path = f"{root}/{name}"
        assert await code_of(files.read_file(HostReadFile(path, root))) == "invalid_path"
        assert await code_of(files.file_metadata(HostFileMetadata(path, root))) == "invalid_path"
        relative = HostReadFileRelative(root, name, "allow")
        assert await code_of(files.read_file_relative(relative)) == "invalid_path"
    assert "secret" in (await files.read_file(HostReadFile(f"{root}/out"))).content


async def test_paths_out_of_the_root_are_refused(files: HostFiles, world: World) -> None:
    root = str(world.root)
    for path in (f"{root}/../outside/secret", f"{root}-evil/secret", "/etc/passwd"):
        assert await code_of(files.read_file(HostReadFile(path, root))) == "invalid_path"
    assert (await files.read_file(HostReadFile("/etc/passwd"))).size_bytes > 0


async def test_faults_have_their_codes(files: HostFiles, world: World) -> None:
    file, root = world.write("file"), str(world.root)
    (world.base / "link").symlink_to(world.root)
    os.mkfifo(world.root / "fifo")
    cases = [
        (HostReadFile("relative"), "invalid_path"),
        (HostReadFile(f"{root}/nul\0"), "invalid_path"),
        (HostReadFile(f"{root}/\ud800"), "invalid_path"),
        (HostReadFile(root), "invalid_path"),
        (HostReadFile(root, root), "invalid_path"),
        (HostReadFile(f"{root}/fifo"), "invalid_path"),
        (HostReadFile(f"{root}/missing"), "ENOENT"),
        (HostReadFile(f"{root}/missing", root), "ENOENT"),
        (HostReadFile(f"{root}/file/below", root), "ENOENT"),
        (HostReadFile(f"{root}/{'x' * 300}", root), "ENAMETOOLONG"),
        (HostReadFile(str(file), f"{root}/missing"), "ENOENT"),
        (HostReadFile(str(file), str(file)), "invalid_path"),
        (HostReadFile(str(file), str(world.base / "link")), "invalid_path"),
        (HostReadFile(str(file), str(world.base / "link") + "/"), "invalid_path"),
    ]
    for command, code in cases:
        assert (command, await code_of(files.read_file(command))) == (command, code)
        metadata = HostFileMetadata(command.path, command.root_path)
        assert (command, await code_of(files.file_metadata(metadata))) == (command, code)


async def test_relative_paths_must_be_plain(files: HostFiles, world: World) -> None:
    world.write("a/b")
    for path in ("/a/b", "a//b", "./a/b", "a/../a/b", "a/b/", "", "a\\b", "a/b\0", ".."):
        command = HostReadFileRelative(str(world.root), path, "allow")
        assert await code_of(files.read_file_relative(command)) == "invalid_path"


async def test_dotfiles_can_be_hidden(files: HostFiles, world: World) -> None:
    world.write(".git/config")
    world.write("a/.env")
    for path in (".git/config", "a/.env"):
        root = str(world.root)
        assert (await files.read_file_relative(HostReadFileRelative(root, path, "allow"))).content
        hidden = HostReadFileRelative(root, path, "deny")
        assert await code_of(files.read_file_relative(hidden)) == "ENOENT"


async def test_large_files_are_refused_except_relative_ones(
    files: HostFiles, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "FILE_LIMIT", 20)
    monkeypatch.setattr(content, "IMAGE_LIMIT", 10)
    root = str(world.root)
    for name, limit in (("text.txt", 20), ("picture.png", 10)):
        file = world.write(name, "x" * limit)
        assert (await files.read_file(HostReadFile(str(file), root))).size_bytes == limit
        file = world.write(name, "x" * (limit + 1))
        assert await code_of(files.read_file(HostReadFile(str(file), root))) == "file_too_large"
        relative = HostReadFileRelative(root, name, "deny")
        assert (await files.read_file_relative(relative)).size_bytes == limit + 1


async def test_a_file_that_says_it_is_empty_is_read_to_its_end(files: HostFiles) -> None:
    found = await files.read_file(HostReadFile("/proc/self/status"))
    assert "Pid:" in found.content
    assert found.size_bytes == len(found.content)


async def test_permission_denied_keeps_its_code(files: HostFiles, world: World) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    file = world.write("locked")
    file.chmod(0)
    assert await code_of(files.read_file(HostReadFile(str(file)))) == "EACCES"


# --- from a commit --------------------------------------------------------------------------


@pytest.fixture
def repository(world: World) -> Path:
    def git(*args: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=dev", "-c", "user.email=dev@example.invalid", *args],
            cwd=world.root,
            check=True,
            capture_output=True,
        )

    git("init", "-q", "-b", "main")
    world.write("src/a.txt", "old\n")
    world.write("with space ü.txt", "named\n")
    (world.root / "link").symlink_to("src/a.txt")
    (world.root / "picture.png").write_bytes(b"\x89PNG")
    git("add", "-A")
    git("commit", "-qm", "first")
    world.write("src/a.txt", "new\n")
    world.write("later.txt")
    return world.root


async def test_a_file_is_read_from_a_commit(files: HostFiles, repository: Path) -> None:
    with trio.fail_after(10):
        path = f"{repository}/src/a.txt"
        found = await files.read_file(HostReadFile(path, str(repository), "HEAD"))
        assert found == FileRead(path, "old\n", "utf8", 4, "text/plain", None)
        named = f"{repository}/with space ü.txt"
        found = await files.read_file(HostReadFile(named, str(repository), "main"))
        assert found.content == "named\n"
        picture = f"{repository}/picture.png"
        found = await files.read_file(HostReadFile(picture, str(repository), "HEAD"))
        assert (found.content_encoding, found.size_bytes) == ("base64", 4)


async def test_what_a_commit_does_not_have_is_empty(files: HostFiles, repository: Path) -> None:
    with trio.fail_after(10):
        for name, ref in (("no.txt", "HEAD"), ("later.txt", "HEAD"), ("src/a.txt", "no-such")):
            path = f"{repository}/{name}"
            found = await files.read_file(HostReadFile(path, str(repository), ref))
            assert found == FileRead(path, "", "utf8", 0, "text/plain", None)


async def test_refs_and_paths_cannot_be_options_or_escape(
    files: HostFiles, repository: Path
) -> None:
    root = str(repository)
    with trio.fail_after(10):
        for ref in ("-x", "--help", "a..b", "a b", "", "a:b", "$(x)", "HEAD\n"):
            command = HostReadFile(f"{root}/src/a.txt", root, ref)
            assert (ref, await code_of(files.read_file(command))) == (ref, "invalid_ref")
        for path in (f"{root}/../x", f"{root}-evil/x", root, f"{root}/a\nb", f"{root}/src"):
            command = HostReadFile(path, root, "HEAD")
            assert (path, await code_of(files.read_file(command))) == (path, "invalid_path")
        missing = HostReadFile(f"{root}/no/x", f"{root}/no", "HEAD")
        assert await code_of(files.read_file(missing)) == "ENOENT"


async def test_a_commit_of_no_repository_is_a_git_fault(files: HostFiles, world: World) -> None:
    command = HostReadFile(str(world.root / "x"), str(world.root), "HEAD")
    with trio.fail_after(10), pytest.raises(GitCommandError):
        await files.read_file(command)


async def test_a_large_blob_is_refused_before_it_is_read(
    files: HostFiles, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "FILE_LIMIT", 3)
    command = HostReadFile(f"{repository}/src/a.txt", str(repository), "HEAD")
    with trio.fail_after(10):
        assert await code_of(files.read_file(command)) == "file_too_large"


# --- manager templates ----------------------------------------------------------------------


async def test_manager_templates_are_listed(files: HostFiles, world: World) -> None:
    nothing = await files.list_manager_templates(HostListManagerTemplates())
    assert (nothing.templates, nothing.active_name) == ((), "default")

    templates = world.base / "data" / "manager-templates"
    for name in ("zeta", "beta", "x" * 129, "a\\b"):
        (templates / name).mkdir(parents=True)
    (templates / "link").symlink_to("beta")
    (templates / "file").write_text("")
    (templates / "active").write_text("  beta \nmore\n")
    found = await files.list_manager_templates(HostListManagerTemplates())
    assert [template.name for template in found.templates] == ["beta", "zeta"]
    assert found.active_name == "beta"

    (templates / "active").write_text("link\n")
    found = await files.list_manager_templates(HostListManagerTemplates())
    assert found.active_name == "default"
