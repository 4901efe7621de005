"""The diff of a workspace: at most three git processes, four when a merge base must be found first.

One child writes the changed files, their line counts and the patch of the tracked files; one lists the
untracked files, and, if there are any, a third shows them as new files through an index of their
own (see ``untracked_index.py``). Its text is what ``git diff --no-index /dev/null <file>`` writes
for each of them.
"""

import trio
from attrs import frozen

from bbhost.domain.status import (
    AllDiff,
    BranchCommittedDiff,
    CommitDiff,
    Diff,
    DiffTarget,
    UncommittedDiff,
)
from bbhost.workspace.diff_text import CutText, DiffReader, DiffTotals
from bbhost.workspace.git import Git
from bbhost.workspace.hardening import LEAVE_INDEX_ALONE, ConfigPair
from bbhost.workspace.repository import Repository, head_has_commit, object_format
from bbhost.workspace.untracked_index import SHA1, SHA256, ObjectFormat, write_untracked_index

DIFF_SECONDS = 60.0
"""Deadline of each git child of a diff."""

_SUMMARY = ("--raw", "--numstat", "--find-renames")
_FORMAT = (*_SUMMARY, "--ignore-submodules=dirty")
_PATCH = ("--patch", "--binary")
_index_limiter = trio.CapacityLimiter(2)
"""Threads that write indexes of untracked files."""


async def read_diff(
    git: Git,
    repository: Repository,
    target: DiffTarget,
    max_diff_chars: int,
    max_file_list_chars: int,
) -> Diff:
    """Read a diff, cut to the limits.

    A patch that is longer than the limit ends the child that writes it, so its cost is bounded too.

    Args:
        max_diff_chars: characters (UTF-16 units, as in JavaScript) kept of the patch.
        max_file_list_chars: the same of the name-status lines.

    Raises:
        GitCommandError: git failed; among others, a branch or commit does not exist.
        GitTimeoutError: a child took longer than ``DIFF_SECONDS``.

    Cancellation: ends the git child under way and removes the temporary index.
    """
    reading = _Reading(
        git, repository, CutText(max_diff_chars), CutText(max_file_list_chars), DiffTotals()
    )
    merge_base = None
    match target:
        case UncommittedDiff():
            await reading.working_tree(await reading.head_or_empty_tree())
        case CommitDiff(sha=sha):
            await reading.read("show", "--format=", *_FORMAT, *_PATCH, f"{sha}^{{commit}}", "--")
        case AllDiff(merge_base_branch=branch) | BranchCommittedDiff(merge_base_branch=branch):
            merge_base = await reading.merge_base(branch)
            if merge_base is None:
                return Diff("", truncated=False, shortstat="", files="", merge_base_ref=None)
            if isinstance(target, AllDiff):
                await reading.working_tree(merge_base)
            else:
                await reading.read("diff", *_FORMAT, *_PATCH, merge_base, "HEAD", "--")
    recounted = isinstance(target, UncommittedDiff | AllDiff)
    return Diff(
        diff=str(reading.patch),
        truncated=reading.patch.truncated or reading.files.truncated,
        shortstat=reading.totals.shortstat() if recounted else reading.totals.git_shortstat(),
        files=str(reading.files),
        merge_base_ref=merge_base,
    )


@frozen
class _Reading:
    """One diff under way."""

    git: Git
    repository: Repository
    patch: CutText
    files: CutText
    totals: DiffTotals

    async def working_tree(self, against: str) -> None:
        """Tracked files against a commit, then untracked files as new."""
        listed = await self._run("ls-files", "--others", "--exclude-standard", "-z")
        inside = await self.git.submodule_config(self.repository.work_tree)
        options = _SUMMARY if inside else _FORMAT
        await self.read("diff", *options, *_PATCH, against, "--", config=inside)
        untracked = [name for name in listed.split(b"\0") if name]
        if untracked:
            await self._read_untracked(untracked)

    async def _read_untracked(self, names: list[bytes]) -> None:
        hashes = self._hashes()
        index = await trio.to_thread.run_sync(
            write_untracked_index, self.repository.work_tree, names, hashes, limiter=_index_limiter
        )
        if index is None:
            return
        try:
            # What no longer fits is not worth computing; the names and counts still are.
            options = _FORMAT if self.patch.truncated else (*_FORMAT, *_PATCH)
            env = {"GIT_INDEX_FILE": str(index)}
            await self.read("diff", *options, hashes.empty_tree, "--", env=env)
        finally:
            index.unlink(missing_ok=True)

    async def read(
        self,
        *args: str,
        env: dict[str, str] | None = None,
        config: tuple[ConfigPair, ...] = (),
    ) -> None:
        """Run one git child, taking its output as it comes and ending it when enough has come."""
        reader = DiffReader(self.patch, self.files, self.totals)

        def take(chunk: bytes) -> None:
            reader.feed(chunk)
            if reader.is_satisfied:
                enough.cancel()

        with trio.CancelScope() as enough:
            await self.git.run(
                *args,
                cwd=self.repository.work_tree,
                extra_env=env or {},
                extra_config=(*config, LEAVE_INDEX_ALONE),
                timeout_seconds=DIFF_SECONDS,
                on_output=take,
            )
            reader.finish()

    async def head_or_empty_tree(self) -> str:
        """HEAD, or the empty tree where it is unborn. No process unless that is in doubt."""
        if head_has_commit(self.repository):
            await trio.lowlevel.checkpoint()
            return "HEAD"
        # Unborn, or kept in a ref store that only git can read.
        asked = await self.git.run(
            *("rev-parse", "--verify", "--quiet", "HEAD"),
            cwd=self.repository.work_tree,
            ok_codes=(0, 1),
            timeout_seconds=DIFF_SECONDS,
        )
        return "HEAD" if asked.stdout else self._hashes().empty_tree

    async def merge_base(self, branch: str) -> str | None:
        """Commit id of the merge base of HEAD and a branch, or None if they have none."""
        printed = await self.git.run(
            "merge-base",
            "--end-of-options",
            branch,
            "HEAD",
            cwd=self.repository.work_tree,
            ok_codes=(0, 1),
            timeout_seconds=DIFF_SECONDS,
        )
        return printed.stdout.decode("ascii", "replace").strip() or None

    async def _run(self, *args: str) -> bytes:
        printed = await self.git.run(
            *args, cwd=self.repository.work_tree, timeout_seconds=DIFF_SECONDS
        )
        return printed.stdout

    def _hashes(self) -> ObjectFormat:
        return SHA256 if object_format(self.repository) == "sha256" else SHA1
