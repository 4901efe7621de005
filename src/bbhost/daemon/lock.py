"""One daemon per data directory.

The lock is the kernel's (``flock``): it ends with its process, however that ends, so a stale file or a
reused pid can neither block a start nor let two daemons in. The original daemon marks its lock with a
directory whose time it keeps fresh; while that is fresh, it is honoured too.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bbhost.errors import BbhostError
from bbhost.toolkit.private_directory import make_private_directory

FOREIGN_FRESH_SECONDS = 10.0
"""The original daemon touches its lock directory more often than this while it runs."""


class AlreadyRunningError(BbhostError):
    """Another daemon owns this data directory."""

    code = "already_running"


class DataDirectoryError(BbhostError):
    """The data directory cannot be made or written."""

    code = "data_directory_unusable"


def lock_path(data_dir: Path) -> Path:
    """The file that is locked."""
    return data_dir / "bbhost.lock"


@contextmanager
def hold_lock(data_dir: Path) -> Iterator[None]:
    """Own the data directory while the block runs.

    Raises:
        AlreadyRunningError: at once, naming the owner; nothing waits.
        DataDirectoryError: the directory cannot be made or written.
    """
    try:
        make_private_directory(data_dir)
        descriptor = os.open(lock_path(data_dir), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DataDirectoryError(
            f"The data directory {data_dir} cannot be used: {error.strerror}; bbhost must be able to "
            "write it"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 64, 0).decode("ascii", "replace").strip()
            raise AlreadyRunningError(
                f"Another bbhost daemon{f' (pid {owner})' if owner else ''} owns {data_dir}; "
                "stop it, or choose another --data-dir"
            ) from None
        _refuse_foreign(data_dir)
        with suppress(OSError):  # the pid is for people; on a full disk the lock holds without it
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _refuse_foreign(data_dir: Path) -> None:
    foreign = data_dir / "daemon.lock.lock"
    try:
        age = time.time() - foreign.stat().st_mtime
    except OSError:
        return
    if age < FOREIGN_FRESH_SECONDS:
        raise AlreadyRunningError(
            f"The original host daemon seems to run on {data_dir} ({foreign} was touched "
            f"{age:.0f} s ago); stop it first"
        )


def lock_owner(data_dir: Path) -> int | None:
    """Pid of the daemon that owns ``data_dir`` now; None when nobody does."""
    try:
        descriptor = os.open(lock_path(data_dir), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(descriptor, 64, 0).decode("ascii", "replace").strip()
        return int(owner) if owner.isdigit() else None
    finally:
        os.close(descriptor)
    return None


def peek_owner(data_dir: Path) -> int | None:
    """Pid of the daemon that owns ``data_dir``, found without touching the lock where the kernel lists locks.

    ``lock_owner`` takes the lock for a moment, in which a daemon that starts would be turned away.
    """
    path = lock_path(data_dir)
    try:
        table = Path("/proc/locks").read_text()
        inode = path.stat().st_ino
        owner = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None if Path("/proc/locks").exists() else lock_owner(data_dir)
    except OSError:
        return lock_owner(data_dir)
    # "1: FLOCK  ADVISORY  WRITE 4711 fe:01:123456 0 EOF"
    fields = [line.split() for line in table.splitlines()]
    held = any(
        f"{inode}" == line[5].rpartition(":")[2]
        for line in fields
        if len(line) > 5 and line[1] == "FLOCK"
    )
    return int(owner) if held and owner.isdigit() else None
