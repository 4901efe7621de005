"""Opening files beneath a directory, whatever links and renames happen meanwhile.

A :class:`Resolver` opens ``parts`` beneath a directory descriptor and refuses every symbolic link
on the way, the last component included. ``Openat2Resolver`` lets the kernel do that in one call;
``WalkResolver`` goes down one component at a time with O_NOFOLLOW, for kernels and systems without
``openat2``. Both raise the same errors: ELOOP for a link, ENOENT, ENOTDIR, and what else ``open``
may raise. Neither follows ``..``: such parts are refused before they get here and again in here.
"""

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Protocol

from bbhost.toolkit.umask import usual_mode

DIRECTORY = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
"""Flags that open a directory to go on from, without asking for permission to list it."""

RACE_ATTEMPTS = 32
"""Tries of ``openat2`` while renames elsewhere make it answer EAGAIN; then the walk is used."""

_OPENAT2 = 437  # the same number on every Linux architecture that Python supports
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08


class Resolver(Protocol):
    """Opens files beneath a directory."""

    def open(self, root: int, parts: Sequence[str], flags: int, mode: int = 0o666) -> int:
        """Open ``parts`` beneath the directory descriptor ``root`` and return a descriptor.

        Args:
            root: descriptor of a directory.
            parts: names, one per component; none is empty, ``.`` or ``..`` or holds a slash.
                No parts at all opens ``root`` itself anew.
            flags: of :func:`os.open`; O_NOFOLLOW and O_CLOEXEC are added.
            mode: permissions of a file that is made.

        Raises:
            OSError: ELOOP for a symbolic link anywhere, else as of :func:`os.open`.
        """
        ...


def check_parts(parts: Sequence[str]) -> None:
    """Refuse what is not a plain name.

    Raises:
        OSError: EXDEV, as the kernel answers for a path that leaves its root.
    """
    for part in parts:
        if part in {"", ".", ".."} or "/" in part or "\0" in part:
            raise OSError(errno.EXDEV, "not a plain file name", part)


class _OpenHow(ctypes.Structure):
    """The kernel's ``struct open_how``."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class WalkResolver:
    """Goes down one component at a time; each is opened relative to the one before."""

    def open(self, root: int, parts: Sequence[str], flags: int, mode: int = 0o666) -> int:
        """See :meth:`Resolver.open`."""
        check_parts(parts)
        if not parts:
            return os.open(".", flags | os.O_CLOEXEC, dir_fd=root)
        directory = os.dup(root)
        try:
            for part in parts[:-1]:
                below = self._step(directory, part, DIRECTORY, 0)
                os.close(directory)
                directory = below
            return self._step(directory, parts[-1], flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        finally:
            os.close(directory)

    def _step(self, directory: int, name: str, flags: int, mode: int) -> int:
        try:
            opened = os.open(name, flags, mode, dir_fd=directory)
        except NotADirectoryError:
            # O_DIRECTORY on a link is reported as "not a directory": say what it really was.
            if _is_link(directory, name):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from None
            raise
        if flags & getattr(os, "O_PATH", 0) and stat.S_ISLNK(os.fstat(opened).st_mode):
            os.close(opened)  # O_PATH with O_NOFOLLOW opens the link itself
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        return opened


class Openat2Resolver:
    """Lets the kernel resolve the whole path (Linux 5.6 and later)."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._walk = WalkResolver()

    def open(self, root: int, parts: Sequence[str], flags: int, mode: int = 0o666) -> int:
        """See :meth:`Resolver.open`."""
        check_parts(parts)
        if not parts:
            return os.open(".", flags | os.O_CLOEXEC, dir_fd=root)
        # Without O_NOFOLLOW: with it the kernel would hand out the last link itself for O_PATH.
        how = _OpenHow(
            (flags & ~os.O_NOFOLLOW) | os.O_CLOEXEC,
            mode if flags & os.O_CREAT else 0,
            _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS,
        )
        path = os.fsencode("/".join(parts))
        for _ in range(RACE_ATTEMPTS):
            opened = self._libc.syscall(
                ctypes.c_long(_OPENAT2),
                ctypes.c_int(root),
                ctypes.c_char_p(path),
                ctypes.byref(how),
                ctypes.c_size_t(ctypes.sizeof(how)),
            )
            if opened >= 0:
                return int(opened)
            code = ctypes.get_errno()
            if code not in {errno.EAGAIN, errno.EINTR}:
                raise OSError(code, os.strerror(code), "/".join(parts))
        return self._walk.open(root, parts, flags, mode)

    def works(self) -> bool:
        """Whether this kernel has the call and no sandbox forbids it."""
        root = os.open("/", DIRECTORY)
        try:
            os.close(self.open(root, ["proc"], DIRECTORY))
        except FileNotFoundError:
            return True
        except OSError:
            return False
        finally:
            os.close(root)
        return True


@cache
def system_resolver() -> Resolver:
    """The best resolver that works on this system."""
    if sys.platform == "linux":
        resolver = Openat2Resolver()
        if resolver.works():
            return resolver
    return WalkResolver()


def make_directories(root: int, parts: Sequence[str], *, for_person: bool = False) -> int:
    """Make the directories ``parts`` beneath ``root`` where missing; return the last, opened.

    Args:
        for_person: they are to be as if the person had made them; else they are the daemon's.

    Raises:
        OSError: ELOOP where a component is a symbolic link, ENOTDIR where it is a file.
    """
    check_parts(parts)
    walk = WalkResolver()
    mode = usual_mode(0o777) if for_person else None
    directory = os.dup(root)
    for part in parts:
        try:
            made = True
            try:
                os.mkdir(part, dir_fd=directory)
            except FileExistsError:
                made = False
            below = walk.open(directory, [part], DIRECTORY)
            if made and mode is not None:
                allow(below, mode, directory)
        finally:
            os.close(directory)
        directory = below
    return directory


def allow(opened: int, mode: int, around: int | Path) -> None:
    """Add to the permissions of what was just made, by descriptor: at its name may be a link by now.

    What the directory around it has given it (group, setgid) stays; where that has an access list for what
    is made in it, the kernel has followed the list and not our mask, and nothing is added. Does nothing
    where permissions cannot be set.
    """
    if _gives_access(around):
        return
    whole = stat.S_IMODE(os.fstat(opened).st_mode) | mode
    with suppress(OSError, NotImplementedError):
        if hasattr(os, "O_PATH"):
            os.chmod(f"/proc/self/fd/{opened}", whole)  # noqa: PTH101 - fchmod refuses O_PATH
        else:
            os.fchmod(opened, whole)


def _gives_access(directory: int | Path) -> bool:
    if sys.platform != "linux":
        return False
    place = directory if isinstance(directory, Path) else f"/proc/self/fd/{directory}"
    try:
        os.getxattr(place, "system.posix_acl_default")
    except OSError:
        return False
    return True


def _is_link(directory: int, name: str) -> bool:
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISLNK(found.st_mode)
