"""Every inotify watch of the daemon must belong to a ready environment, or to storage that is watched on purpose."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bbhost.daemon.doctor.finding import Finding, error, info, ok, warning
from bbhost.daemon.doctor.subject import LOOK_AGAIN_SECONDS, Subject
from bbhost.domain.environment import EnvironmentState
from bbhost.toolkit.counted import counted
from bbhost.watch.kernel_view import KernelWatch, count_kernel_watches, kernel_watches
from bbhost.watch.values import WatchBackend, WatchTarget

if TYPE_CHECKING:
    from bbhost.daemon.assembly import Parts

CHECK = "watches"


async def check_watches(subject: Subject) -> list[Finding]:
    """Compare the kernel's list with the watcher's table, and the table with the environments."""
    if sys.platform != "linux":
        return [info(CHECK, "this system does not tell which directories are watched")]
    if subject.parts is None:
        return await _from_outside(subject)
    parts = subject.parts
    strangers = await _strangers(subject, parts)
    if strangers:
        await trio.sleep(LOOK_AGAIN_SECONDS)
        strangers &= await _strangers(subject, parts)
    findings = []
    if strangers:
        findings.append(
            error(
                CHECK,
                f"{len(strangers)} watches belong to no ready environment",
                sorted(strangers),
                "restart the daemon, and report this as a defect",
            )
        )
    findings += _uncovered(parts)
    count = parts.watches.statistics().kernel_watches
    return findings or [
        ok(CHECK, f"all {count} watches belong to ready environments, or to threads' storage")
    ]


async def _strangers(subject: Subject, parts: "Parts") -> set[str]:
    """Watches without an owner, each described."""
    parts.watches.drain_nowait()
    before = parts.watches.watched_directories()
    kernel = await subject.look(kernel_watches)
    after = parts.watches.watched_directories()
    ready = [r.path for r in subject.records() if r.state is EnvironmentState.READY]
    targets = [target for target, _ in parts.watches.statistics().watches]
    ours = await subject.look(_claimed_roots, ready, targets, str(parts.storage.root))
    found = {
        f"{path} is watched (watch {number})"
        for number, path in after.items()
        if before.get(number) == path and not _is_within(path, ours)
    }
    instances = sorted(kernel.items(), key=lambda one: -len(one[1]))
    own = _own_instance(kernel, set(before) | set(after))
    for descriptor, watches in instances:
        if descriptor == own:
            unknown = {watch.wd for watch in watches} - set(before) - set(after)
            found |= {
                f"watch {number} of descriptor {descriptor} is unknown" for number in unknown
            }
        elif watches and parts.watches.preferred is WatchBackend.INOTIFY:
            found |= {
                f"descriptor {descriptor}: a watch of inode {watch.inode} by nobody we know"
                for watch in watches
            }
    return found


def _own_instance(kernel: dict[int, list[KernelWatch]], table: set[int]) -> int | None:
    """The descriptor whose watch numbers fit the table best; None where the table is empty."""
    fits = {fd: len({watch.wd for watch in watches} & table) for fd, watches in kernel.items()}
    best = max(fits, key=lambda fd: fits[fd], default=None)
    return best if best is not None and fits[best] else None


def _claimed_roots(
    ready: Iterable[str], targets: Iterable[WatchTarget], storage: str
) -> frozenset[str]:
    """Directories that ready environments and watched storage may have watches in. Blocking."""
    holders: set[str] = set()
    for path in map(os.path.realpath, ready):
        # An environment may be a directory within a work tree, which is watched from its top.
        holders |= {path, *map(str, Path(path).parents)}
    roots = {storage, os.path.realpath(storage)}
    for target in targets:
        if os.path.realpath(target.root) in holders:
            places = [place for place in (target.root, target.git_dir, target.common_dir) if place]
            roots |= {*places, *map(os.path.realpath, places)}
    return frozenset(roots)


def _is_within(path: str, roots: frozenset[str]) -> bool:
    return path in roots or any(str(parent) in roots for parent in Path(path).parents)


def _uncovered(parts: "Parts") -> list[Finding]:
    """Environments whose changes are found out some other way, or not at all."""
    gone = []
    polled = []
    for target, coverage in parts.watches.statistics().watches:
        line = f"{target.root}: {coverage.reason or coverage.backend}"
        if coverage.backend is WatchBackend.NONE:
            gone.append(line)
        elif coverage.backend is WatchBackend.POLLING and coverage.reason != "configured":
            polled.append(line)
    findings = []
    if gone:
        findings.append(
            warning(
                CHECK,
                counted(len(gone), "environment is not watched", "environments are not watched")
                + ": status is computed on every question",
                gone,
                "see the reason; a status question starts the watch again",
            )
        )
    if polled:
        findings.append(
            warning(
                CHECK,
                counted(len(polled), "environment is", "environments are")
                + " polled instead of watched",
                polled,
                "raise fs.inotify.max_user_watches, or set watch_share",
            )
        )
    return findings


async def _from_outside(subject: Subject) -> list[Finding]:
    if subject.owner_pid is None:
        return [ok(CHECK, "no daemon runs, so nothing is watched")]
    try:
        count = await subject.look(count_kernel_watches, subject.owner_pid)
    except OSError as trouble:
        return [warning(CHECK, f"cannot look at the daemon (pid {subject.owner_pid}): {trouble}")]
    return [info(CHECK, f"the daemon (pid {subject.owner_pid}) holds {count} inotify watches")]
