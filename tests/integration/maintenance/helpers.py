"""What the tests of maintenance do to a data directory."""

import json
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from bbhost.daemon.assembly import Parts
from bbhost.daemon.doctor.doctor import examine
from bbhost.daemon.doctor.finding import Finding, Report, Severity
from bbhost.daemon.doctor.subject import Subject
from bbhost.domain.ids import EnvironmentId
from bbhost.domain.workspace import ManagedWorktreeSpec, WorkspaceContext, WorkspaceKind
from bbhost.lifecycle.environment import EnvironmentEvent
from bbhost.processes.environ import MARKER_VARIABLE
from bbhost.processes.marker import data_directory_id


def spec_of(parts: Parts, name: str, repo: Path) -> ManagedWorktreeSpec:
    """A managed worktree where a server would put it."""
    path = parts.data_dir / "worktrees" / name / repo.name
    return ManagedWorktreeSpec(str(repo), str(path), f"bb/{name}", None, 60_000)


async def provision(parts: Parts, name: str, repo: Path) -> Path:
    """Make a ready environment; returns its workspace."""
    spec = spec_of(parts, name, repo)
    await parts.supervisor.provision(EnvironmentId(name), spec)
    return Path(spec.target_path)


async def destroy(parts: Parts, name: str, path: Path) -> None:
    """Destroy it as the server does."""
    context = WorkspaceContext(str(path), WorkspaceKind.MANAGED_WORKTREE)
    await parts.supervisor.destroy(EnvironmentId(name), context)


async def retire(parts: Parts, name: str) -> None:
    """Release it as the reconciler does; returns when it is tombstoned."""
    actor = parts.supervisor.actor(EnvironmentId(name))
    assert actor is not None
    assert await actor.ask(EnvironmentEvent.RETIRE)
    await actor.view.wait_value(lambda view: view.state == "tombstoned")


async def settled(parts: Parts) -> None:
    """Wait until nothing is being scanned, so that every watch is in its place."""
    while parts.watches.statistics().running_tasks:  # noqa: ASYNC110 - it tells nobody
        await trio.sleep(0.01)


async def look(parts: Parts, *, deadline_seconds: float = 20) -> Report:
    """The daemon examines itself."""
    return await examine(
        Subject(parts.config, parts.git, parts), deadline_seconds=deadline_seconds
    )


def of(report: Report, check: str, *, at_least: Severity = Severity.INFO) -> list[Finding]:
    """What one check has to complain about."""
    return [f for f in report.findings if f.check == check and f.severity >= at_least]


def text_of(findings: list[Finding]) -> str:
    """All that the findings say."""
    return "\n".join(line for f in findings for line in (f.what, *f.evidence, f.remedy))


def age(path: Path, seconds: float) -> None:
    """Make a file look old."""
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)


def put_back(path: Path, repo: Path) -> None:
    """Make a directory at a workspace's path again, as a process that was overlooked might."""
    shutil.copytree(repo / "src", path)


def plant_trash(parts: Parts, name: str, *, days_ago: float) -> Path:
    """An entry of the trash that should have been deleted."""
    entry = parts.data_dir / "trash" / name
    (entry / "files").mkdir(parents=True)
    when = int((time.time() - days_ago * 86_400) * 1000)
    note = {
        "environment_id": name,
        "incarnation": 1,
        "path": f"/nowhere/{name}",
        "trashed_at_ms": when,
        "keep_until_ms": when,
    }
    (entry / "note.json").write_text(json.dumps(note))
    return entry


@asynccontextmanager
async def stray_process(parts: Parts) -> AsyncIterator[int]:
    """A process with the mark of an earlier run of this data directory's daemon."""
    mark = f"{data_directory_id(parts.data_dir)}.00000000.1.env_stray"
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        env={**os.environ, MARKER_VARIABLE: mark},
        start_new_session=True,
    )
    try:
        yield process.pid
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
