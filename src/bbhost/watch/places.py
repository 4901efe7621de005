"""Which directories can be watched at all: refused roots, file systems that stay silent."""

import ctypes
import errno
import functools
import os
import sys
from pathlib import Path

from bbhost.errors import WatchRefusedError

# From the kernel's magic.h and the file systems' own headers. All of them can be changed by another
# machine (or another program, for FUSE) without this kernel hearing of it. Overlay is not among
# them: changes through the mount are told; only changes made behind it, in its layers, are not.
_SILENT_FILE_SYSTEMS = {
    0x00006969: "NFS",
    0x0000517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB2",
    0x01021997: "9p",
    0x65735546: "FUSE",
    0x00C36400: "Ceph",
    0x5346414F: "AFS",
    0x6B414653: "AFS",
    0x73757245: "Coda",
    0x47504653: "GPFS",
    0x0BD00BD0: "Lustre",
    0x786F4256: "VirtualBox shared folder",
    0x7C7C6673: "Parallels shared folder",
    0x7461636F: "OCFS2",
    0x01161970: "GFS2",
}


class SilentFileSystemError(OSError):
    """The file system does not tell of all changes."""

    def __init__(self, path: str, name: str) -> None:
        super().__init__(errno.EOPNOTSUPP, f"{name} does not tell of all changes", path)


def refuse_broad_root(root: str, home: Path | None = None) -> None:
    """Refuse a root that holds all of the user's files.

    Such a tree has no useful status and would use up the watches of the whole machine.

    Raises:
        WatchRefusedError: ``root`` is ``/``, the home directory, or a directory above it.
    """
    real_root = Path(os.path.realpath(root))
    real_home = Path(os.path.realpath(home or Path.home()))
    if real_root == real_root.parent or real_home.is_relative_to(real_root):
        what = "the home directory" if real_root == real_home else "all home directories"
        if real_root == real_root.parent:
            what = "the whole file system"
        raise WatchRefusedError(f"{root} is not watched: it is {what}; use a directory below it")


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def silent_file_system(path: str) -> str | None:
    """Return the name of the file system of ``path`` if it does not tell of all changes.

    Raises:
        OSError: ``path`` cannot be examined.
    """
    if sys.platform != "linux":
        return None
    libc = _libc()
    # struct statfs begins with f_type; its size is 120 bytes on 64-bit Linux. The rest is unused.
    buffer = ctypes.create_string_buffer(512)
    if libc.statfs(os.fsencode(path), buffer) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    magic = ctypes.c_ulong.from_buffer(buffer).value & 0xFFFFFFFF
    return _SILENT_FILE_SYSTEMS.get(magic)


def identify(path: str) -> tuple[int, int] | None:
    """Return device and inode of a directory, None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - the same
    except OSError:
        return None
    return found.st_dev, found.st_ino
