"""Copying ignored files that a new worktree needs (``.env``, caches) from the source checkout.

``.worktreeinclude`` at the top of the source checkout lists them with the syntax of ``.gitignore``. A file is
copied only if it is untracked and ignored in the source *and* ignored and untracked in the worktree, so nothing
that is copied shows up as a change. The list may have come with the repository, from somebody
else: it can choose among ignored files within the checkout, and nothing beyond.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import trio
from attrs import field, frozen

from bbhost.errors import BbhostError
from bbhost.toolkit.faults import fault_point
from bbhost.workspace.beneath import opened_root
from bbhost.workspace.disk import on_disk
from bbhost.workspace.file_copy import NotCopiedError, copy_beneath
from bbhost.workspace.git import Git
from bbhost.workspace.names import text_name
from bbhost.workspace.tools import WorkspaceTools
from bbhost.workspace.transcript import Transcript

INCLUDE_FILE = ".worktreeinclude"
MAX_INCLUDE_BYTES = 65_536
"""A longer list is not read."""
MAX_FILES = 20_000
"""Files beyond this number are left out."""
MAX_BYTES = 4 * 1024 * 1024 * 1024
"""The same for their size together."""
MAX_LINES = 50
"""File names shown in the transcript; of the rest only the number."""
LIST_SECONDS = 60.0
"""Deadline of each git child that lists."""


@frozen
class IncludeReport:
    """What was copied."""

    copied: tuple[str, ...] = ()
    """Relative paths."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Relative paths and why."""


@frozen
class _Limits:
    files: int = MAX_FILES
    size: int = MAX_BYTES


@frozen
class _Copying:
    source: Path
    target: Path
    paths: tuple[bytes, ...]
    limits: _Limits = field(factory=_Limits)

    def run(self, go_on: Callable[[], None]) -> IncludeReport:
        copied: list[str] = []
        left_out: list[tuple[str, str]] = []
        room = self.limits.size
        with opened_root(self.source) as source, opened_root(self.target) as target:
            for path in self.paths:
                go_on()
                try:
                    if len(copied) >= self.limits.files or room <= 0:
                        raise NotCopiedError("there are too many files, or they are too large")
                    room -= copy_beneath(source, target, os.fsdecode(path), go_on)
                except NotCopiedError as error:
                    left_out.append((text_name(path), str(error)))
                else:
                    copied.append(text_name(path))
        return IncludeReport(tuple(copied), tuple(left_out))


async def copy_included_files(
    tools: WorkspaceTools, source: Path, target: Path, transcript: Transcript
) -> IncludeReport | None:
    """Copy what the source checkout's list asks for. None where it has no list.

    A failure is reported in the transcript and does not fail the provisioning; the set-up script will tell if
    something is missing.

    Args:
        source: top of the source checkout.
        target: top of the new worktree.

    Raises:
        OSError: the disk is full or broken.

    Cancellation: safe; a file that is being copied is not left half-done.
    """
    include_file = await on_disk(_include_file, source)
    if include_file is None:
        return None
    step = transcript.started("worktree-include-started", f"Copying files of {INCLUDE_FILE}")
    try:
        paths = await _wanted(tools.git, include_file, source, target)
        fault_point("provision.include_listed")
        copying = _Copying(source, target, paths)
        report = await on_disk(copying.run, trio.from_thread.check_cancelled)
    except BbhostError as error:
        step.failed("worktree-include-failed", f"Could not copy files: {error.message}")
        return IncludeReport()
    _tell(report, transcript)
    step.completed("worktree-include-completed", f"Copied {len(report.copied)} ignored files")
    fault_point("provision.included")
    return report


async def _wanted(git: Git, include_file: Path, source: Path, target: Path) -> tuple[bytes, ...]:
    listed = await git.run(
        "ls-files",
        "-z",
        "--others",
        "--ignored",
        f"--exclude-from={include_file}",
        cwd=source,
        timeout_seconds=LIST_SECONDS,
    )
    # A name with a slash at its end is a repository within the checkout.
    paths = [path for path in listed.stdout.split(b"\0") if path and not path.endswith(b"/")]
    paths = await _ignored(git, source, paths)
    reachable = await on_disk(_without_links, target, paths)
    return tuple(await _ignored(git, target, reachable))


async def _ignored(git: Git, checkout: Path, paths: list[bytes]) -> list[bytes]:
    """Return those of ``paths`` that git ignores and does not track there."""
    if not paths:
        return []
    result = await git.run(
        "check-ignore",
        "-z",
        "--stdin",
        cwd=checkout,
        stdin=b"\0".join(paths) + b"\0",
        ok_codes=(0, 1),
        timeout_seconds=LIST_SECONDS,
    )
    return [path for path in result.stdout.split(b"\0") if path]


def _include_file(source: Path) -> Path | None:
    path = source / INCLUDE_FILE
    try:
        found = path.lstat()
    except OSError:
        return None
    usable = stat.S_ISREG(found.st_mode) and 0 < found.st_size <= MAX_INCLUDE_BYTES
    return path if usable else None


def _without_links(root: Path, paths: list[bytes]) -> list[bytes]:
    """Leave out what lies behind a symlink in ``root``; git refuses whole lists that have one."""
    links: dict[bytes, bool] = {b"": False}
    top = os.fsencode(root)

    def behind_link(directory: bytes) -> bool:
        known = links.get(directory)
        if known is None:
            parent = directory.rpartition(b"/")[0]
            known = behind_link(parent) or os.path.islink(top + b"/" + directory)  # noqa: PTH114 - names are bytes
            links[directory] = known
        return known

    return [path for path in paths if not behind_link(path.rpartition(b"/")[0])]


def _tell(report: IncludeReport, transcript: Transcript) -> None:
    lines = [*report.copied, *(f"Left out {path}: {why}" for path, why in report.left_out)]
    for line in lines[:MAX_LINES]:
        transcript.line("worktree-include-output", line)
    if len(lines) > MAX_LINES:
        transcript.line("worktree-include-output", f"and {len(lines) - MAX_LINES} more")
