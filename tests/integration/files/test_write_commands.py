"""host.write_file_relative, host.delete_file_relative and host.delete_path_relative."""

import base64
import errno
import hashlib
import os
import stat
import struct
from pathlib import Path

import pytest

from bbhost.contract.commands import (
    HostDeleteFileRelative,
    HostDeletePathRelative,
    HostWriteFileRelative,
)
from bbhost.contract.results import FileDeleted, PathDeleted
from bbhost.domain.ids import ThreadId
from bbhost.errors import BbhostError
from bbhost.toolkit import umask
from bbhost.workspace.files import writing
from bbhost.workspace.files.beneath import DIRECTORY, Resolver
from bbhost.workspace.files.service import HostFiles
from bbhost.workspace.files.storage import ThreadStorage
from bbhost.workspace.files.tree import remove_tree
from tests.integration.files.conftest import SECRET, SwappingResolver, World, names_in


def write_command(
    root: Path, path: str, text: str = "new", *, allow: bool = True, base_64: bool = False
) -> HostWriteFileRelative:
    encoding = "base64" if base_64 else "utf8"
    return HostWriteFileRelative(str(root), path, "allow" if allow else "deny", text, encoding)


def hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def code_of(awaitable: object) -> str:
    with pytest.raises(BbhostError) as caught:
        await awaitable  # type: ignore[misc]
    return caught.value.code


def temporaries(base: Path) -> list[Path]:
    return [path for path in base.rglob(".*") if path.name.endswith(".tmp")]


async def test_a_file_is_written_with_root_and_parents(files: HostFiles, world: World) -> None:
    root = world.base / "made" / "root"
    written = await files.write_file_relative(write_command(root, "a/b/c.json", "{}"))
    file = root / "a/b/c.json"
    assert file.read_text() == "{}"
    assert (written.path, written.hash, written.size_bytes) == ("a/b/c.json", hash_text("{}"), 2)
    assert written.modified_at_ms == file.stat().st_mtime_ns / 1_000_000
    assert temporaries(world.base) == []


async def test_what_is_made_is_as_if_the_person_had_made_it(
    files: HostFiles, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the daemon's own, which are its user's alone."""
    before = os.umask(0o027)
    monkeypatch.setattr(umask, "_before", None)
    umask.keep_files_private()
    try:
        root = world.base / "made" / "root"
        await files.write_file_relative(write_command(root, "a/run.sh", "x"))
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((root / one).stat().st_mode) for one in ("..", ".", "a", "a/run.sh")]
    assert [oct(mode) for mode in modes] == ["0o750", "0o750", "0o750", "0o640"]


@pytest.mark.skipif(
    not hasattr(os, "setxattr"), reason="access lists are extended attributes here"
)
async def test_where_a_list_gives_access_nothing_is_added(
    files: HostFiles, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else may read what the person makes in such a directory, whatever the mask says."""
    private = world.base / "private"
    private.mkdir()
    # Version 2; for the user all, for the group and others nothing.
    entries = ((0x01, 7), (0x04, 0), (0x20, 0))
    whole = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", *one, 0xFFFFFFFF) for one in entries
    )
    try:
        os.setxattr(private, "system.posix_acl_default", whole)
    except OSError as error:
        pytest.skip(f"no access lists here: {error}")
    before = os.umask(0o022)
    monkeypatch.setattr(umask, "_before", None)
    umask.keep_files_private()
    try:
        await files.write_file_relative(write_command(private / "root", "a/run.sh", "x"))
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((private / one).stat().st_mode) for one in ("root", "root/a")]
    assert [oct(mode) for mode in modes] == ["0o700", "0o700"]
    assert oct(stat.S_IMODE((private / "root/a/run.sh").stat().st_mode)) == "0o600"


async def test_a_file_is_written_where_permissions_cannot_be_set(
    files: HostFiles, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no permissions here")

    monkeypatch.setattr(umask, "_before", 0o022)
    monkeypatch.setattr("bbhost.workspace.files.beneath.os.chmod", refuse)
    await files.write_file_relative(write_command(world.root, "a/b", "x"))
    assert (world.root / "a/b").read_text() == "x"


async def test_a_file_is_replaced_and_keeps_its_permissions(
    files: HostFiles, world: World
) -> None:
    file = world.write("run.sh")
    file.chmod(0o750)
    other = world.root / "other-name"
    os.link(file, other)
    await files.write_file_relative(write_command(world.root, "run.sh", "new"))
    assert file.read_text() == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o750
    assert other.read_text() == "text\n"  # replaced, not overwritten in place


async def test_content_may_be_base64_and_any_text(files: HostFiles, world: World) -> None:
    data = bytes(range(256))
    command = write_command(world.root, "bin", base64.b64encode(data).decode(), base_64=True)
    await files.write_file_relative(command)
    assert (world.root / "bin").read_bytes() == data

    await files.write_file_relative(write_command(world.root, "half", "a\ud83db"))
    assert (world.root / "half").read_text() == "a\ufffdb"

    command = write_command(world.root, "bad", "not base64!", base_64=True)
    assert await code_of(files.write_file_relative(command)) == "invalid_command"
    assert not (world.root / "bad").exists()


@pytest.mark.slow
async def test_names_as_long_as_the_file_system_takes_can_be_written(
    files: HostFiles, world: World
) -> None:
    for name in ("n" * 255, "ü" * 127):
        await files.write_file_relative(write_command(world.root, name))
        assert (world.root / name).read_text() == "new"


async def test_links_and_directories_are_not_written_through(
    files: HostFiles, world: World
) -> None:
    world.write("dir/file")
    (world.root / "leaf").symlink_to(world.outside / "secret")
    (world.root / "inside").symlink_to("dir")
    (world.root / "parent").symlink_to(world.outside)
    (world.base / "root-link").symlink_to(world.root)
    os.mkfifo(world.root / "fifo")
    cases = [
        (world.root, "leaf"),
        (world.root, "parent/new"),
        (world.root, "parent/deep/new"),
        (world.root, "inside/new"),
        (world.root, "dir"),
        (world.root, "dir/file/below"),
        (world.root, "fifo"),
        (world.root, "../outside/new"),
        (world.root / "dir/file", "new"),
        (world.root / "dir/file/below", "new"),
        (world.base / "root-link", "new"),
        (Path("relative"), "new"),
    ]
    for root, path in cases:
        command = write_command(root, path)
        assert (path, await code_of(files.write_file_relative(command))) == (path, "invalid_path")
    assert (world.outside / "secret").read_bytes() == SECRET
    assert names_in(world.outside) == ["secret"]
    assert temporaries(world.base) == []


async def test_dotfiles_can_be_refused(files: HostFiles, world: World) -> None:
    world.write(".env")
    root = str(world.root)
    hidden = write_command(world.root, ".git/config", allow=False)
    assert await code_of(files.write_file_relative(hidden)) == "ENOENT"
    delete = HostDeleteFileRelative(root, ".env", "deny")
    assert await code_of(files.delete_file_relative(delete)) == "ENOENT"
    remove = HostDeletePathRelative(root, ".env", "deny")
    assert await code_of(files.delete_path_relative(remove)) == "ENOENT"
    assert names_in(world.root) == [".env"]


@pytest.mark.parametrize("step", ["write", "fsync", "rename"])
async def test_a_failure_leaves_the_old_file_and_nothing_else(
    files: HostFiles, world: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A full disk at any step: the file is as it was and no temporary file remains."""
    world.write("file", "old")

    def full(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writing.os, step, full)
        code = await code_of(files.write_file_relative(write_command(world.root, "file")))
    assert code == "ENOSPC"
    assert (world.root / "file").read_text() == "old"
    assert names_in(world.root) == ["file"]


async def test_a_parent_swapped_while_writing_does_not_redirect_the_file(
    files: HostFiles, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory is moved away and a link put in its place before the rename."""
    world.write("dir/file", "old")
    fsync = os.fsync

    def swap(descriptor: int) -> None:
        (world.root / "dir").rename(world.root / "moved")
        (world.root / "dir").symlink_to(world.outside)
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(writing.os, "fsync", swap)
        await files.write_file_relative(write_command(world.root, "dir/file"))
    assert (world.root / "moved/file").read_text() == "new"
    assert names_in(world.outside) == ["secret"]


# --- deleting -------------------------------------------------------------------------------


async def test_a_file_is_deleted_with_its_hash(files: HostFiles, world: World) -> None:
    world.write("a/file", "old")
    command = HostDeleteFileRelative(str(world.root), "a/file", "deny")
    assert await files.delete_file_relative(command) == FileDeleted(
        "a/file", deleted=True, previous_hash=hash_text("old")
    )
    missing = FileDeleted("a/file", deleted=False, previous_hash=None)
    assert await files.delete_file_relative(command) == missing
    no_root = HostDeleteFileRelative(str(world.base / "no"), "a/file", "deny")
    assert await files.delete_file_relative(no_root) == missing
    assert not (world.base / "no").exists()


async def test_only_plain_files_are_deleted_as_files(files: HostFiles, world: World) -> None:
    world.write("dir/file")
    (world.root / "leaf").symlink_to(world.outside / "secret")
    (world.root / "parent").symlink_to(world.outside)
    for path in ("dir", "leaf", "parent/secret", "../outside/secret"):
        command = HostDeleteFileRelative(str(world.root), path, "allow")
        assert (path, await code_of(files.delete_file_relative(command))) == (path, "invalid_path")
    assert (world.outside / "secret").exists()
    assert (world.root / "leaf").is_symlink()


async def test_a_directory_is_deleted_whole(files: HostFiles, world: World) -> None:
    world.write("app/data/deep/file")
    world.write("app/file")
    (world.root / "app/link").symlink_to(world.outside)
    root = str(world.root)
    command = HostDeletePathRelative(root, "app", "deny")
    assert await files.delete_path_relative(command) == PathDeleted("app", deleted=True)
    assert await files.delete_path_relative(command) == PathDeleted("app", deleted=False)
    assert (world.outside / "secret").exists()

    world.write("file")
    command = HostDeletePathRelative(root, "file", "deny")
    assert await files.delete_path_relative(command) == PathDeleted("file", deleted=True)
    command = HostDeletePathRelative(root, "no/below", "deny")
    assert await code_of(files.delete_path_relative(command)) == "ENOENT"
    command = HostDeletePathRelative(f"{root}/no", "below", "deny")
    assert await files.delete_path_relative(command) == PathDeleted("below", deleted=False)


async def test_links_are_not_deleted_through(files: HostFiles, world: World) -> None:
    (world.root / "leaf").symlink_to(world.outside)
    for path in ("leaf", "leaf/secret", "..", "."):
        command = HostDeletePathRelative(str(world.root), path, "allow")
        assert (path, await code_of(files.delete_path_relative(command))) == (path, "invalid_path")
    assert (world.outside / "secret").exists()


async def test_a_parent_swapped_before_deleting_is_not_followed(
    world: World, resolver: Resolver, storage: ThreadStorage
) -> None:
    world.write("dir/secret", "mine")

    def swap() -> None:
        if not (world.root / "dir").is_symlink():
            (world.root / "dir").rename(world.root / "old")
            (world.root / "dir").symlink_to(world.outside)

    swapping = SwappingResolver(resolver, swap)
    assert code_of_deleting(swapping, world.root, "dir/secret") == ["invalid_path"] * 2
    assert (world.outside / "secret").exists()


def code_of_deleting(resolver: Resolver, root: Path, path: str) -> list[str]:
    codes = []
    for delete in (writing.delete_file_relative, writing.delete_path_relative):
        with pytest.raises(BbhostError) as caught:
            delete(resolver, str(root), path, dotfiles=True)
        codes.append(caught.value.code)
    return codes


@pytest.mark.slow
def test_a_tree_of_any_depth_is_removed(world: World) -> None:
    """Deeper than recursion and open files would allow; some of it not writable."""
    names = "d" * 10
    level = os.open(world.root, os.O_RDONLY)
    for depth in range(1500):
        os.mkdir(names, dir_fd=level)
        below = os.open(names, os.O_RDONLY, dir_fd=level)
        if depth % 100 == 0:
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=below))
            os.fchmod(below, 0o755)
        os.close(level)
        level = below
    os.close(level)
    parent = os.open(world.base, DIRECTORY)
    try:
        assert remove_tree(parent, "root")
        assert not remove_tree(parent, "root")
    finally:
        os.close(parent)
    assert not world.root.exists()


def test_removing_goes_on_where_directories_are_read_only(world: World) -> None:
    world.write("cache/pkg/file")
    for path in ("cache/pkg", "cache"):
        (world.root / path).chmod(0o500)
    parent = os.open(world.base, DIRECTORY)
    try:
        assert remove_tree(parent, "root")
    finally:
        os.close(parent)
    assert not world.root.exists()


# --- storage of deleted threads -------------------------------------------------------------


async def test_a_late_write_does_not_bring_a_deleted_thread_back(
    files: HostFiles, storage: ThreadStorage
) -> None:
    thread = ThreadId("thr_1")
    root = storage.create(thread) / "apps" / "app"
    await files.write_file_relative(write_command(root, "manifest.json"))
    assert storage.delete(thread)
    assert await code_of(files.write_file_relative(write_command(root, "late.json"))) == "ENOENT"
    assert not storage.path_of(thread).exists()
    storage.create(thread)
    await files.write_file_relative(write_command(root, "again.json"))
