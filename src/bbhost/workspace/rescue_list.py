"""What was rescued in a repository: listing, showing, dropping, forgetting after a time."""

from collections.abc import Iterable
from pathlib import Path

from attrs import evolve, field, frozen

from bbhost.errors import NotGitRepoError, RescueError
from bbhost.workspace.disk import on_disk
from bbhost.workspace.git import Git
from bbhost.workspace.names import text_name
from bbhost.workspace.repository import find_git_dirs
from bbhost.workspace.rescue_names import (
    PREFIX,
    RescueNote,
    parse_note,
    parse_rescue_ref,
    rescue_prefix,
)

QUICK_SECONDS = 60.0
"""Deadline of each git child."""
RETENTION_SECONDS = 30 * 24 * 3600
"""Rescued work older than that may be dropped by :func:`expire_rescues`."""
_FORMAT = "%(refname)%00%(objectname)%00%(committerdate:unix)%00%(contents)%00%01"


@frozen
class Rescue:
    """The rescued work of one incarnation of an environment."""

    environment_id: str
    incarnation: int
    common_dir: Path
    """Repository that holds it."""
    refs: dict[str, str] = field(factory=dict)
    """Commit ids by part: ``worktree``, ``index``, ``conflicts``, ``head``, ``branch``."""
    rescued_at_s: int = 0
    """Seconds since the epoch."""
    note: RescueNote | None = None

    @property
    def name(self) -> str:
        """How people name it: ``<environment>/<incarnation>``."""
        return f"{self.environment_id}/{self.incarnation}"


@frozen
class RescuedFile:
    """One path that differs from the commit the work was based on."""

    path: str
    status: str
    """``A`` added, ``M`` changed, ``D`` deleted, ``T`` another type."""
    mode: str
    """Git's mode, six octal digits; ``000000`` for a deleted one."""
    object_id: str
    base_object_id: str
    """What the commit has; zeros for an added one."""
    raw_path: bytes
    """The name as the kernel has it."""


async def list_rescues(git: Git, repository_path: Path) -> list[Rescue]:
    """Return what was rescued in a repository, oldest first. One process.

    Args:
        repository_path: a checkout of it, or its git dir.

    Raises:
        NotGitRepoError: there is no repository.
    """
    dirs = await on_disk(find_git_dirs, repository_path)
    if dirs is None:
        raise NotGitRepoError(f"Not a git repository: {repository_path}")
    result = await git.run(
        "for-each-ref",
        f"--format={_FORMAT}",
        PREFIX,
        cwd=dirs.common_dir,
        git_dir=dirs.common_dir,
        timeout_seconds=QUICK_SECONDS,
    )
    rescues = _parse(result.stdout.decode("utf-8", "surrogateescape"), dirs.common_dir)
    return sorted(rescues, key=lambda rescue: (rescue.rescued_at_s, rescue.name))


async def find_rescue(git: Git, repository_path: Path, name: str) -> Rescue:
    """Return the rescue of that name; an environment id alone means its latest incarnation.

    Raises:
        RescueError: there is none.
    """
    rescues = await list_rescues(git, repository_path)
    named = [rescue for rescue in rescues if name in {rescue.name, rescue.environment_id}]
    if not named:
        raise RescueError(f"Nothing was rescued as {name} in {repository_path}")
    return max(named, key=lambda rescue: rescue.incarnation)


async def show_rescue(git: Git, rescue: Rescue, part: str = "worktree") -> list[RescuedFile]:
    """Return the files of one part that differ from the commit they were based on.

    Raises:
        RescueError: there is no such part.
    """
    commit = part_of(rescue, part)
    result = await git.run(
        "diff-tree",
        "-r",
        "-z",
        "--no-renames",
        "--root",
        "--no-commit-id",
        commit,
        cwd=rescue.common_dir,
        git_dir=rescue.common_dir,
        timeout_seconds=QUICK_SECONDS,
    )
    fields = result.stdout.split(b"\0")
    return [
        _file(about, path)
        for about, path in zip(fields[::2], fields[1::2], strict=False)
        if about.startswith(b":")
    ]


async def show_rescue_diff(git: Git, rescue: Rescue, part: str = "worktree") -> bytes:
    """Return a patch of one part against the commit it was based on.

    Raises:
        RescueError: there is no such part.
        GitCommandError: it is longer than git's output may be.
    """
    result = await git.run(
        "diff-tree",
        "-p",
        "--binary",
        "--no-renames",
        "--root",
        "--no-commit-id",
        part_of(rescue, part),
        cwd=rescue.common_dir,
        git_dir=rescue.common_dir,
        timeout_seconds=QUICK_SECONDS,
    )
    return result.stdout


async def drop_rescue(git: Git, rescue: Rescue) -> None:
    """Forget rescued work: its refs, all or none. A second time does nothing."""
    await drop_rescues(git, [rescue])


async def expire_rescues(git: Git, repository_path: Path, *, older_than_s: int) -> list[Rescue]:
    """Drop what was rescued before ``older_than_s`` (seconds since the epoch); returns what was dropped."""
    rescues = await list_rescues(git, repository_path)
    old = [rescue for rescue in rescues if rescue.rescued_at_s < older_than_s]
    if old:
        await drop_rescues(git, old)
    return old


async def drop_rescues(git: Git, rescues: Iterable[Rescue]) -> None:
    """Forget several of one repository in one transaction."""
    dropped = list(rescues)
    lines = [f"delete {ref_of(rescue, part)}\0\0" for rescue in dropped for part in rescue.refs]
    if not lines:
        return
    common_dir = dropped[0].common_dir
    await git.run(
        "update-ref",
        "-z",
        "--stdin",
        cwd=common_dir,
        git_dir=common_dir,
        stdin="".join(lines).encode("ascii"),
        timeout_seconds=QUICK_SECONDS,
    )


def part_of(rescue: Rescue, part: str) -> str:
    """Return the commit of a part.

    Raises:
        RescueError: there is no such part.
    """
    commit = rescue.refs.get(part)
    if commit is None:
        parts = ", ".join(sorted(rescue.refs))
        raise RescueError(f"The rescue {rescue.name} has no {part}; it has {parts}")
    return commit


def ref_of(rescue: Rescue, part: str) -> str:
    """Return the ref name of a part."""
    return f"{rescue_prefix(rescue.environment_id, rescue.incarnation)}{part}"


def _parse(listing: str, common_dir: Path) -> list[Rescue]:
    rescues: dict[tuple[str, int], Rescue] = {}
    for record in listing.split("\0\1\n"):
        fields = record.split("\0")
        named = parse_rescue_ref(fields[0])
        if named is None or len(fields) != 4:
            continue
        environment_id, incarnation, part = named
        _, commit, date, message = fields
        before = rescues.get((environment_id, incarnation)) or Rescue(
            environment_id, incarnation, common_dir
        )
        refs = {**before.refs, part: commit}
        # By name, so that the worktree comes last and has the last word.
        if part in {"branch", "worktree"}:
            note = parse_note(message, environment_id, incarnation)
            before = evolve(before, rescued_at_s=int(date or 0), note=note)
        rescues[environment_id, incarnation] = evolve(before, refs=refs)
    return list(rescues.values())


def _file(about: bytes, path: bytes) -> RescuedFile:
    _, mode, base_id, object_id, status = about.decode("ascii").removeprefix(":").split(" ")
    return RescuedFile(text_name(path), status, mode, object_id, base_id, path)
