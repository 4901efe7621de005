"""Kernel limits and how near they are."""

import os
import resource
import sys
from pathlib import Path

from bbhost.daemon.doctor.finding import Finding, info, ok, warning
from bbhost.daemon.doctor.subject import Subject

CHECK = "limits"
FULL_SHARE = 0.8
"""Of a limit; more in use than that is worth a warning."""
FEW_DESCRIPTORS = 1024
_INOTIFY = Path("/proc/sys/fs/inotify")


async def check_limits(subject: Subject) -> list[Finding]:
    """Look at inotify watches and instances, and at file descriptors."""
    findings = [*_inotify(subject), *await subject.look(_descriptors, subject)]
    return findings or [ok(CHECK, "inotify and file descriptors have headroom")]


def _inotify(subject: Subject) -> list[Finding]:
    if sys.platform != "linux":
        return []
    most = _read(_INOTIFY / "max_user_watches")
    instances = _read(_INOTIFY / "max_user_instances")
    findings = []
    if instances is not None and instances < 2:
        findings.append(
            warning(
                CHECK,
                f"fs.inotify.max_user_instances is {instances}",
                remedy="sysctl fs.inotify.max_user_instances=128",
            )
        )
    if most is not None and most < 8192:
        findings.append(
            warning(
                CHECK,
                f"fs.inotify.max_user_watches is {most}",
                remedy="sysctl fs.inotify.max_user_watches=65536",
            )
        )
    if subject.parts is not None:
        watch = subject.parts.watches.statistics()
        if watch.budget and watch.kernel_watches > FULL_SHARE * watch.budget:
            findings.append(
                warning(
                    CHECK,
                    f"{watch.kernel_watches} of {watch.budget} inotify watches are in use",
                    [f"fs.inotify.max_user_watches is {most}"],
                    "raise fs.inotify.max_user_watches, or set watch_share",
                )
            )
        if watch.overflows:
            findings.append(
                info(
                    CHECK,
                    f"the kernel's queue has overflowed {watch.overflows} times; everything was looked at anew",
                )
            )
    return findings


def _descriptors(subject: Subject) -> list[Finding]:
    pid = os.getpid() if subject.parts is not None else subject.owner_pid
    if pid is None:
        return []
    try:
        used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        limit = _descriptor_limit(pid)
    except OSError:
        return []
    if limit is None:
        return []
    if used > FULL_SHARE * limit:
        return [
            warning(
                CHECK,
                f"the daemon has {used} of {limit} file descriptors open",
                remedy="raise LimitNOFILE of the service, or ulimit -n",
            )
        ]
    if limit < FEW_DESCRIPTORS:
        return [warning(CHECK, f"the daemon may open {limit} files only", remedy="ulimit -n 8192")]
    return []


def _descriptor_limit(pid: int) -> int | None:
    if pid == os.getpid():
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return soft
    for line in Path(f"/proc/{pid}/limits").read_text().splitlines():
        if line.startswith("Max open files"):
            word = line.split()[3]
            return int(word) if word.isdigit() else None
    return None


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
