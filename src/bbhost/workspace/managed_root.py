"""Which paths are ours to make and to remove: those beneath a managed root. Blocking, changes nothing.

Lexical checks come first, then each directory between the root and the path is looked at: a
symlink on the way would make the path mean another place.
"""

import os
import re
import stat
from pathlib import Path

from bbhost.errors import NotRemovableError
from bbhost.workspace.trash import LOCAL_TRASH_DIRECTORY

WORKTREES, PERSONAL_WORKSPACES = "worktrees", "personal-workspaces"
_MOUNT_TABLE = Path("/proc/self/mountinfo")
_MOUNT_ESCAPE = re.compile(r"\\([0-7]{3})")


def require_beneath(root: Path, path: Path) -> None:
    """Return if ``path`` lies beneath ``root`` by real directories only; it need not exist.

    Raises:
        NotRemovableError: it does not, or it is or passes through a symlink.
    """
    text = str(path)
    if not path.is_absolute() or os.path.normpath(text) != text or not path.is_relative_to(root):
        raise NotRemovableError(f"{path} does not lie within {root}")
    inner = path.relative_to(root).parts
    if not inner or inner[0] == LOCAL_TRASH_DIRECTORY:
        raise NotRemovableError(f"{path} is not a workspace within {root}")
    place = root
    for part in inner:
        place /= part
        try:
            found = place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return
        if stat.S_ISLNK(found.st_mode):
            raise NotRemovableError(f"{place} is a symbolic link, so {path} may be another place")


def require_removable_directory(root: Path, path: Path) -> bool:
    """Return whether ``path`` exists, if it is a directory beneath ``root`` that may be moved away.

    Raises:
        NotRemovableError: it is somewhere or something else, or a file system is mounted in it.
    """
    require_beneath(root, path)
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not stat.S_ISDIR(found.st_mode):
        raise NotRemovableError(f"{path} is not a directory")
    mounted = mounts_beneath(path)
    if mounted:
        raise NotRemovableError(f"{mounted[0]} is a mount point; unmount it, then try again")
    return True


def mounts_beneath(path: Path) -> list[Path]:
    """Return the mount points at or beneath ``path``; empty where the system has no mount table."""
    try:
        table = _MOUNT_TABLE.read_text("utf-8", "surrogateescape")
    except OSError:
        return []
    real = Path(os.path.realpath(path))
    places = (Path(_unescape(line.split(" ")[4])) for line in table.splitlines() if line)
    return [place for place in places if place.is_relative_to(real)]


def _unescape(text: str) -> str:
    return _MOUNT_ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)
