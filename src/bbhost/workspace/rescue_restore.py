"""Giving rescued work back: the bytes, modes and symlinks that were there.

Into a missing or empty directory a worktree is made, detached at the commit the work was based on,
and index and conflicts are put back as well. Into a worktree that exists only the files that
differ are written, and nothing that has other content is overwritten unless that is asked for.

Content is taken from git as it was stored: no filter, no end-of-line conversion.
"""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from attrs import frozen

from bbhost.errors import GitCommandError, RescueError
from bbhost.workspace.disk import on_disk
from bbhost.workspace.git import Git
from bbhost.workspace.repository import Repository, discover_repository
from bbhost.workspace.rescue_list import Rescue, RescuedFile, part_of, show_rescue
from bbhost.workspace.restored_file import (
    RestoredFile,
    differs,
    remove_path,
    write_file,
    write_file_by,
)
from bbhost.workspace.tools import WorkspaceTools

RESTORE_SECONDS = 300.0
"""Deadline of each git child."""
BATCH_BYTES = 4 * 1024 * 1024
"""Content taken from git at a time; a larger file comes alone, in a file of its own."""
MAX_CONFLICTS_SHOWN = 5
GITLINK_MODE, ABSENT_MODE = "160000", "000000"


@frozen
class RestoreReport:
    """What was given back."""

    target: Path
    written: tuple[str, ...]
    deleted: tuple[str, ...]
    index_restored: bool


async def restore_rescue(
    tools: WorkspaceTools, rescue: Rescue, target: Path, *, overwrite: bool = False
) -> RestoreReport:
    """Give rescued work back at ``target`` (absolute).

    Raises:
        RescueError: ``target`` is something else than a worktree of the repository or an empty
            directory, or has files with other content; nothing was written.
        GitCommandError: git failed.

    Cancellation: safe to repeat; what was given back until then is there.
    """
    files = await show_rescue(tools.git, rescue)
    base = await _base(tools.git, rescue)
    fresh = await on_disk(_is_free, target)
    if fresh:
        await _make_place(tools, rescue, target, base)
    repository = await on_disk(discover_repository, target)
    if base is not None and not _is_top(repository, rescue, target):
        raise RescueError(f"{target} is not the top of a worktree of {rescue.common_dir}")
    wanted = [file for file in files if file.mode not in {GITLINK_MODE, ABSENT_MODE}]
    deleted = [file for file in files if file.mode == ABSENT_MODE]
    if not fresh and not overwrite:
        await on_disk(_require_no_conflict, target, [*wanted, *deleted])
    for file in deleted:
        await on_disk(remove_path, target, os.fsdecode(file.raw_path))
    await _write_all(tools.git, rescue, target, wanted)
    index_restored = fresh and base is not None and await _restore_index(tools.git, rescue, target)
    return RestoreReport(
        target,
        tuple(file.path for file in wanted),
        tuple(file.path for file in deleted),
        index_restored,
    )


async def _base(git: Git, rescue: Rescue) -> str | None:
    """The commit the work was based on; None where there was none yet."""
    result = await git.run(
        "rev-parse",
        "--verify",
        "--quiet",
        f"{part_of(rescue, 'worktree')}^",
        cwd=rescue.common_dir,
        git_dir=rescue.common_dir,
        ok_codes=(0, 1),
        timeout_seconds=RESTORE_SECONDS,
    )
    return result.stdout.decode("ascii").strip() or None


async def _make_place(
    tools: WorkspaceTools, rescue: Rescue, target: Path, base: str | None
) -> None:
    if base is None:
        await on_disk(lambda: target.mkdir(parents=True, exist_ok=True))
        return
    async with tools.locks.repository(rescue.common_dir):
        await tools.git.run(
            "worktree",
            "add",
            "--detach",
            str(target),
            base,
            cwd=rescue.common_dir,
            git_dir=rescue.common_dir,
            timeout_seconds=RESTORE_SECONDS,
        )


async def _write_all(git: Git, rescue: Rescue, target: Path, files: Sequence[RescuedFile]) -> None:
    sizes = await _sizes(git, rescue, [file.object_id for file in files])
    for batch in _batches(files, sizes):
        if sizes[batch[0].object_id] > BATCH_BYTES:
            await _write_large(git, rescue, target, batch[0])
            continue
        contents = await _contents(git, rescue, [file.object_id for file in batch])
        for file, content in zip(batch, contents, strict=True):
            await on_disk(write_file, target, _restored(rescue, file), content)


async def _write_large(git: Git, rescue: Rescue, target: Path, file: RescuedFile) -> None:
    """Write a file that is not to be held in memory: git's output goes to disk piece by piece."""
    spool = target / f".bbhost-restore-{file.object_id}"
    try:
        with await on_disk(partial(spool.open, "wb")) as stream:
            await git.run(
                "cat-file",
                "blob",
                file.object_id,
                cwd=rescue.common_dir,
                git_dir=rescue.common_dir,
                on_output=stream.write,  # type: ignore[arg-type]  # the count it returns is not used
                timeout_seconds=RESTORE_SECONDS,
            )
        await on_disk(write_file_by, target, _restored(rescue, file), partial(_pour, spool))
    finally:
        spool.unlink(missing_ok=True)


async def _sizes(git: Git, rescue: Rescue, object_ids: list[str]) -> dict[str, int]:
    if not object_ids:
        return {}
    result = await git.run(
        "cat-file",
        "--batch-check=%(objectname) %(objectsize)",
        cwd=rescue.common_dir,
        git_dir=rescue.common_dir,
        stdin="".join(f"{object_id}\n" for object_id in object_ids).encode("ascii"),
        timeout_seconds=RESTORE_SECONDS,
    )
    sizes = {}
    for line in result.stdout.decode("ascii").splitlines():
        object_id, size = line.split(" ", 1)
        if not size.isdigit():
            raise GitCommandError(f"git cat-file failed: {object_id} is {size}")
        sizes[object_id] = int(size)
    return sizes


async def _contents(git: Git, rescue: Rescue, object_ids: list[str]) -> list[bytes]:
    result = await git.run(
        "cat-file",
        "--batch",
        cwd=rescue.common_dir,
        git_dir=rescue.common_dir,
        stdin="".join(f"{object_id}\n" for object_id in object_ids).encode("ascii"),
        timeout_seconds=RESTORE_SECONDS,
    )
    contents = []
    position = 0
    for _ in object_ids:
        header, _, _ = result.stdout[position : position + 256].partition(b"\n")
        size = int(header.split(b" ")[2])
        start = position + len(header) + 1
        contents.append(result.stdout[start : start + size])
        position = start + size + 1
    return contents


async def _restore_index(git: Git, rescue: Rescue, target: Path) -> bool:
    """Put the index back, conflicts included. False where nothing was staged."""
    if "index" not in rescue.refs:
        return False
    await git.run(
        "read-tree", part_of(rescue, "index"), cwd=target, timeout_seconds=RESTORE_SECONDS
    )
    if "conflicts" in rescue.refs:
        lines = b"".join(_conflict_lines(await show_rescue(git, rescue, "conflicts")))
        await git.run(
            "update-index",
            "-z",
            "--index-info",
            cwd=target,
            stdin=lines,
            timeout_seconds=RESTORE_SECONDS,
        )
    return True


def _conflict_lines(sides: list[RescuedFile]) -> Iterator[bytes]:
    ids = {side.raw_path.partition(b"/")[2]: side.object_id for side in sides}
    for path, object_id in sorted(ids.items()):
        # Mode 0 takes the path out of the index; its id is not looked at, but must have the length.
        yield b"0 %s\t%s\0" % (b"0" * len(object_id), path)
    for side in sides:
        stage, _, path = side.raw_path.partition(b"/")
        about = f"{side.mode} {side.object_id} ".encode("ascii")
        yield about + stage + b"\t" + path + b"\0"


def _batches(files: Sequence[RescuedFile], sizes: dict[str, int]) -> Iterator[list[RescuedFile]]:
    batch: list[RescuedFile] = []
    total = 0
    for file in files:
        size = sizes[file.object_id]
        if batch and total + size > BATCH_BYTES:
            yield batch
            batch, total = [], 0
        batch.append(file)
        total += size
    if batch:
        yield batch


def _restored(rescue: Rescue, file: RescuedFile) -> RestoredFile:
    path = os.fsdecode(file.raw_path)
    permissions = None if rescue.note is None else rescue.note.modes.get(path)
    return RestoredFile(path, file.mode, permissions)


def _require_no_conflict(target: Path, files: list[RescuedFile]) -> None:
    conflicts = [
        file.path
        for file in files
        if differs(
            target,
            os.fsdecode(file.raw_path),
            frozenset({file.object_id, file.base_object_id}),
        )
    ]
    if conflicts:
        shown = ", ".join(conflicts[:MAX_CONFLICTS_SHOWN])
        more = "" if len(conflicts) <= MAX_CONFLICTS_SHOWN else f" and {len(conflicts)} in all"
        raise RescueError(
            f"{target} has other content in {shown}{more}; ask for overwriting, or choose another place"
        )


def _is_free(target: Path) -> bool:
    if not os.path.lexists(target):
        return True
    return target.is_dir() and not target.is_symlink() and next(target.iterdir(), None) is None


def _is_top(repository: Repository | None, rescue: Rescue, target: Path) -> bool:
    return (
        repository is not None
        and repository.common_dir == rescue.common_dir
        and repository.work_tree == Path(os.path.realpath(target))
    )


def _pour(spool: Path, stream: BinaryIO) -> None:
    with spool.open("rb") as file:
        while chunk := file.read(BATCH_BYTES):
            stream.write(chunk)
