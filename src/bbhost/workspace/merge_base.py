"""HEAD compared with a merge base branch: at most two processes, three where a squash is suspected.

Everything here follows from two commit ids, so it is computed once for each pair and kept.

One ``git log`` of the symmetric difference tells the commits of both sides, those that exist on
both sides with the same patch, and the boundary, which holds every merge base: with one boundary
commit, that is the merge base. One ``git diff`` tells the changed files. A branch that was
squash-merged shows as a commit of the base with the same patch as the whole branch; commits that
touch exactly the same files are the candidates, and one ``git diff-tree`` gives their patches.
"""

from pathlib import Path

from attrs import evolve, frozen

from bbhost.domain.status import MergeBaseStatus
from bbhost.workspace.comparisons import ComparisonCache
from bbhost.workspace.git import OUTPUT_LIMIT, Git, GitOutputError
from bbhost.workspace.history import CommitLog, HistoryCommit, parse_log
from bbhost.workspace.numstat import DiffSummary, parse_diff_summary
from bbhost.workspace.patch_id import parse_patches
from bbhost.workspace.refs import RefsSnapshot
from bbhost.workspace.repository import Repository

LOG_LIMIT = 8 * 1024 * 1024
"""Bytes of the log of both sides. Beyond it the sides are asked for one by one, with more processes."""
SQUASH_COMMITS = 1000
"""Newest commits of the base, since the merge base, among which a squashed branch is looked for."""
SQUASH_PATCH_LIMIT = 16 * 1024 * 1024
"""Bytes of the patches compared. A branch with larger ones counts as not merged."""
_FORMAT = "--format=%m%x00%H%x00%h%x00%an%x00%at%x00%s"
_EMPTY = DiffSummary((), {})


async def read_merge_base(
    git: Git,
    comparisons: ComparisonCache,
    repository: Repository,
    refs: RefsSnapshot,
    branch: str,
    head: str | None,
) -> MergeBaseStatus:
    """Compare ``head`` with ``branch``.

    Args:
        branch: a local branch, a remote one (``origin/main``), or anything else that names a commit.
        head: commit id of HEAD; None when unborn, which compares as having nothing.

    Raises:
        GitCommandError: the branch does not exist, or git failed.
        GitTimeoutError: a child took longer than ``Git.look_seconds``.
    """
    base = await _resolve(git, repository, refs, branch)
    if head is None:
        return _merge_base_status(branch, None, 0)
    # Deepening a shallow clone changes what the same commit ids have in common.
    shallow = _stamp(repository.common_dir / "shallow")
    found = await comparisons.get(
        (repository.common_dir, shallow, base, head),
        lambda: _Comparer(git, repository, base, head).compare(),
    )
    return evolve(found, merge_base_branch=branch)


def _merge_base_status(
    branch: str,
    base_ref: str | None,
    behind_count: int,
    ahead: tuple[HistoryCommit, ...] = (),
    summary: DiffSummary = _EMPTY,
) -> MergeBaseStatus:
    if not ahead:
        # Nothing is unmerged, so no file counts either.
        summary = _EMPTY
    return MergeBaseStatus(
        merge_base_branch=branch,
        base_ref=base_ref,
        ahead_count=len(ahead),
        behind_count=behind_count,
        has_committed_unmerged_changes=bool(ahead),
        commits=tuple(commit.summary for commit in ahead),
        files=summary.files(),
        insertions=summary.insertions,
        deletions=summary.deletions,
    )


async def _resolve(git: Git, repository: Repository, refs: RefsSnapshot, branch: str) -> str:
    known = refs.heads.get(branch) or refs.remotes.get(branch)
    if known is not None:
        return known
    printed = await git.run(
        "rev-parse",
        "--verify",
        "--end-of-options",
        f"{branch}^{{commit}}",
        cwd=repository.work_tree,
        timeout_seconds=git.look_seconds,
    )
    return printed.stdout.decode("ascii", "replace").strip()


def _stamp(path: Path) -> int | None:
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return None


@frozen
class _Comparer:
    """One comparison under way."""

    git: Git
    repository: Repository
    base: str
    head: str

    async def compare(self) -> MergeBaseStatus:
        if self.base == self.head:
            return _merge_base_status("", self.head, 0)
        try:
            printed = await self._run(
                *self._log_args("--cherry-mark", "--boundary"), limit=LOG_LIMIT
            )
            log = parse_log(printed)
        except GitOutputError:
            log = await self._long_log()
        base_ref = await self._merge_base(log)
        summary = _EMPTY
        if log.ahead and base_ref is not None:
            summary = parse_diff_summary(
                await self._run(
                    *("diff", "--raw", "--numstat", "--find-renames"),
                    *("--ignore-submodules=dirty", "-z", base_ref, self.head, "--"),
                )
            )
            if log.behind_count and await self._was_squashed(log, base_ref, summary):
                return _merge_base_status("", base_ref, log.behind_count)
        return _merge_base_status("", base_ref, log.behind_count, log.ahead, summary)

    def _log_args(self, *options: str) -> tuple[str, ...]:
        return (
            *("log", "--left-right", "--reverse", "--raw", "--no-renames", "--encoding=UTF-8"),
            *("-z", _FORMAT, *options, f"{self.base}...{self.head}", "--"),
        )

    async def _merge_base(self, log: CommitLog) -> str | None:
        if len(log.boundary) == 1:
            return log.boundary[0]
        if not log.boundary and not log.is_partial:
            return None
        # Exit status 1: they have no commit in common.
        printed = await self.git.run(
            "merge-base",
            self.base,
            self.head,
            cwd=self.repository.work_tree,
            ok_codes=(0, 1),
            timeout_seconds=self.git.look_seconds,
        )
        return printed.stdout.decode("ascii", "replace").strip() or None

    async def _long_log(self) -> CommitLog:
        """Ask for the sides one by one: all of HEAD's commits, the newest ones of the base, a count."""
        counted = await self._run(
            *("rev-list", "--cherry-pick", "--left-right", "--count"),
            *(f"{self.base}...{self.head}", "--"),
        )
        right = parse_log(await self._run(*self._log_args("--cherry-pick", "--right-only")))
        try:
            left = parse_log(
                await self._run(
                    *self._log_args("--left-only", f"--max-count={SQUASH_COMMITS}"),
                    limit=LOG_LIMIT,
                )
            ).base_side
        except GitOutputError:
            left = ()
        return CommitLog(
            ahead=right.ahead,
            behind_count=int(counted.split()[0]),
            base_side=left,
            boundary=(),
            is_partial=True,
        )

    async def _was_squashed(self, log: CommitLog, base_ref: str, summary: DiffSummary) -> bool:
        """Whether one commit of the base does to the files what all of HEAD's commits together do."""
        touched = summary.touched()
        if not touched:
            return True
        candidates = [
            commit.sha for commit in log.base_side[-SQUASH_COMMITS:] if commit.touched == touched
        ]
        if not candidates:
            return False
        # A line of several commits means: compare the first with the others as its parents.
        lines = [f"{self.head} {base_ref}", *candidates]
        try:
            printed = await self._run(
                *("diff-tree", "--stdin", "--root", "-r", "-p", "--no-renames", "--full-index"),
                *("--unified=3", "--ignore-submodules=dirty"),
                stdin="\n".join(lines).encode() + b"\n",
                limit=SQUASH_PATCH_LIMIT,
            )
        except GitOutputError:
            return False
        patches = parse_patches(printed)
        whole = patches.get(self.head)
        return whole is not None and any(patches.get(sha) == whole for sha in candidates)

    async def _run(
        self, *args: str, stdin: bytes | None = None, limit: int = OUTPUT_LIMIT
    ) -> bytes:
        printed = await self.git.run(
            *args,
            cwd=self.repository.work_tree,
            stdin=stdin,
            timeout_seconds=self.git.look_seconds,
            output_limit=limit,
        )
        return printed.stdout
