"""The control socket as a file: where it is, who may reach it, and what a stale one is."""

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

from bbhost.daemon.config import Config, xdg
from bbhost.errors import BbhostError
from bbhost.toolkit.private_directory import make_private_directory

MAX_SOCKET_PATH_BYTES = 100
"""The kernel's limit is 108 with the final NUL on Linux and 104 on macOS."""


class ControlSocketError(BbhostError):
    """The control socket cannot be made or reached."""

    code = "control_socket"


def control_socket_path(config: Config) -> Path:
    """Where the control socket of a data directory is.

    By default ``control.sock`` in the data directory; where that path is too long for a socket, a
    short name in the runtime directory, derived from the data directory.
    """
    named = config.get("control_socket")
    if named:
        return Path(named).expanduser().absolute()
    path = config.data_dir / "run" / "control.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        return path
    import hashlib

    digest = hashlib.sha256(os.fsencode(config.data_dir)).hexdigest()[:16]
    fallback = Path("/tmp") / f"bbhost-{os.getuid()}"  # noqa: S108 - made 0700 and checked
    return xdg_runtime_dir(fallback) / digest / "control.sock"


def xdg_runtime_dir(fallback: Path) -> Path:
    """``$XDG_RUNTIME_DIR/bbhost``, or ``fallback`` where there is none."""
    if os.environ.get("XDG_RUNTIME_DIR", "").startswith("/"):
        return xdg("XDG_RUNTIME_DIR", "") / "bbhost"
    return fallback


def bind_control_socket(path: Path) -> socket.socket:
    """Make the socket, mode 0600 in a directory of mode 0700 that is ours.

    The caller owns the data directory's lock, so a socket file that is there already is stale.

    Raises:
        ControlSocketError: the directory is not ours alone, the path is too long or not a socket.
    """
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise ControlSocketError(f"The control socket's path is too long: {path}")
    make_private_directory(path.parent)
    found = path.parent.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ControlSocketError(f"{path.parent} is not a directory of this user")
    path.parent.chmod(0o700)
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ControlSocketError(f"{path} is in the way and is not a socket")
        if _somebody_listens(path):
            raise ControlSocketError(f"Somebody else listens on {path}")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(16)
    except BaseException:
        listener.close()
        raise
    return listener


def _somebody_listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError as error:
            return error.errno not in {errno.ECONNREFUSED, errno.ENOENT}
    return True
