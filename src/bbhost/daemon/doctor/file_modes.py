"""Files that hold secrets or command the daemon must be its user's alone."""

import os
import stat
from pathlib import Path

from bbhost.daemon.doctor.finding import Finding, error, ok
from bbhost.daemon.doctor.subject import Subject
from bbhost.daemon.local.socket_path import control_socket_path

CHECK = "file_modes"
PRIVATE_FILES = (
    "auth.json",
    "bbhost.sqlite",
    "bbhost.sqlite-wal",
    "bbhost.lock",
    "run/hub.json",
    "run/control.sock",
)
PRIVATE_DIRECTORIES = ("", "run", "trash")
TOKEN_PATTERNS = ("*token*", "hub/*token*", "hub/*.sqlite", "hub/*.db", "run/*token*")


async def check_file_modes(subject: Subject) -> list[Finding]:
    """Look at owner and mode of every file that others must not have."""
    return await subject.look(_look, subject.data_dir, control_socket_path(subject.config))


def _look(data_dir: Path, socket: Path) -> list[Finding]:
    paths = {data_dir / name for name in (*PRIVATE_FILES, *PRIVATE_DIRECTORIES)}
    paths |= {socket, socket.parent}
    for pattern in TOKEN_PATTERNS:
        paths |= set(data_dir.glob(pattern))
    findings = [finding for path in sorted(paths) for finding in _judge(path)]
    return findings or [ok(CHECK, "keys, tokens, journal and control socket are private")]


def _judge(path: Path) -> list[Finding]:
    try:
        found = path.lstat()
    except OSError:
        return []
    if found.st_uid != os.geteuid():
        return [
            error(
                CHECK,
                f"{path} belongs to another user",
                [f"uid {found.st_uid}"],
                f"chown {os.geteuid()} {path}",
            )
        ]
    mode = stat.S_IMODE(found.st_mode)
    # What lies in a private directory cannot be reached; the data directory's own mode is checked too.
    if stat.S_ISLNK(found.st_mode) or not mode & 0o077:
        return []
    wanted = "0700" if stat.S_ISDIR(found.st_mode) else "0600"
    return [error(CHECK, f"others may use {path}", [f"mode {mode:04o}"], f"chmod {wanted} {path}")]
