"""Cgroup v2 leaves: one per boundary, below the part of the tree that was delegated to the daemon.

Membership is the kernel's own record: inherited by every fork, and left only by a process that may
write elsewhere in the tree. ``cgroup.kill`` ends all members at once; nothing that forks
outruns it. A leaf is used only where the service manager has delegated the subtree
(``Delegate=yes``): the rest of the tree has another owner, even where it happens to be writable.

No controllers are enabled, so the daemon may stay in the delegated cgroup itself.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

from attrs import field, frozen

from bbhost.processes import proc

_NAME_PREFIX = "bbhost-"


@frozen
class Leaf:
    """A cgroup directory that belongs to one boundary. Its methods do a few small file accesses."""

    path: Path
    """Absolute path below the mounted cgroup v2 tree."""
    tree_path: str = field()
    """The same as the kernel names it in ``/proc/<pid>/cgroup``."""

    @property
    def procs(self) -> Path:
        """The file into which a process writes itself to join."""
        return self.path / "cgroup.procs"

    def make(self) -> None:
        """Create the leaf; fine if it is there.

        Raises:
            OSError: the tree does not take it (a limit on descendants, a lost delegation).
        """
        self.path.mkdir(exist_ok=True)

    def pids(self) -> list[int]:
        """Return the ids of the processes in it and in cgroups that its members have made below."""
        found: list[int] = []
        for directory in self._directories():
            with suppress(OSError):
                found.extend(map(int, (directory / "cgroup.procs").read_text().split()))
        return [pid for pid in found if pid > 0]

    def holds(self, pid: int) -> bool:
        """Whether ``pid`` is in it or below it."""
        path = proc.cgroup_path(pid)
        return path is not None and (
            path == self.tree_path or path.startswith(self.tree_path + "/")
        )

    def kill(self) -> None:
        """Kill every process in it and below, at once. Does nothing on kernels before 5.14."""
        with suppress(OSError):
            (self.path / "cgroup.kill").write_text("1")

    def remove(self) -> bool:
        """Remove the empty leaf and what members have made below. Returns whether it is gone."""
        for directory in reversed(self._directories()):
            with suppress(OSError):
                directory.rmdir()
        return not self.path.exists()

    def _directories(self) -> list[Path]:
        return [Path(directory) for directory, _below, _files in os.walk(self.path)]


@frozen
class LeafTree:
    """The delegated part of the cgroup tree."""

    path: Path
    tree_path: str

    def leaf(self, data_id: str, name: str) -> Leaf:
        """Return the leaf called ``name`` of the daemon with this data id; it is not created."""
        full = f"{_NAME_PREFIX}{data_id}-{name}"
        return Leaf(self.path / full, f"{self.tree_path.rstrip('/')}/{full}")

    def leaves(self, data_id: str) -> list[Leaf]:
        """Return the leaves there are of the daemon with this data id."""
        prefix = f"{_NAME_PREFIX}{data_id}-"
        try:
            names = [path.name for path in self.path.iterdir() if path.name.startswith(prefix)]
        except OSError:
            return []
        return [self.leaf(data_id, name.removeprefix(prefix)) for name in sorted(names)]


def find_delegated_tree(root: Path | None = None) -> LeafTree | None:
    """Return the subtree that was delegated to this daemon, None where there is none.

    Args:
        root: where cgroup v2 is mounted; found in the mount table where omitted.
    """
    if sys.platform != "linux":
        return None
    own = proc.cgroup_path(os.getpid())
    if own is None or own == "/":
        return None
    for mount in [root] if root is not None else _cgroup2_mounts():
        # The daemon may have been put into a subgroup of what was delegated (DelegateSubgroup=).
        for tree_path in (own, os.path.dirname(own)):  # noqa: PTH120 - a path in the kernel's words
            path = mount / tree_path.lstrip("/")
            if tree_path != "/" and _is_delegated(path):
                return LeafTree(path, tree_path)
    return None


def cgroup_directory(tree_path: str) -> Path | None:
    """Return where the cgroup that the kernel calls ``tree_path`` is mounted; None where it is not."""
    for mount in _cgroup2_mounts():
        path = mount / tree_path.lstrip("/")
        if (path / "cgroup.procs").exists():
            return path
    return None


def _is_delegated(path: Path) -> bool:
    if not os.access(path, os.W_OK) or not os.access(path / "cgroup.procs", os.W_OK):
        return False
    if sys.platform == "linux":
        for attribute in ("user.delegate", "trusted.delegate"):
            with suppress(OSError):
                if os.getxattr(path, attribute) == b"1":
                    return True
    # Older service managers do not mark it, but hand it over to the user of the service.
    with suppress(OSError):
        return os.geteuid() != 0 and path.stat().st_uid == os.geteuid()
    return False


def _cgroup2_mounts() -> list[Path]:
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return []
    # There may be several, some hidden below others: whoever asks tries them.
    mounts = [line.partition(" - ") for line in lines]
    return [Path(mount.split()[4]) for mount, _, source in mounts if source.startswith("cgroup2 ")]
