"""Which files inside git directories matter to a watch. Pure."""

import hashlib
from enum import Flag, auto

_SILENT_IN_GIT_DIR = frozenset({
    # pointers that are written once
    "commondir", "gitdir", "locked",
    # storage and history, which change with every command and say nothing new
    "logs", "objects", "hooks", "lfs", "modules", "worktrees", "branches", "description",
    "COMMIT_EDITMSG", "ORIG_HEAD", "FETCH_HEAD", "gc.pid", "gc.log",
    # belong to the common directory, which has its own rules below
    "refs", "packed-refs", "config", "info", "shallow", "reftable",
})  # fmt: skip

_SURVEYED_BELOW_COMMON = ("refs/heads/", "refs/remotes/", "refs/tags/")
_SURVEYED_IN_COMMON = frozenset({
    "info", "refs", "refs/heads", "refs/remotes", "refs/tags", "reftable",
})  # fmt: skip


class Concern(Flag):
    """What a change of one name in a git directory may have changed."""

    NOTHING = 0
    WORKSPACE = auto()
    REFS = auto()
    INDEX = auto()
    """The index: an ignored directory may hold tracked files now."""
    RULES = auto()
    """The ignore rules of every worktree."""
    CONFIG = auto()
    """The configuration, which may change the ignore rules; see ``config_signature``."""


def git_dir_concern(name: str) -> Concern:
    """Return what ``name``, directly in a worktree's own git dir, concerns."""
    if name.endswith(".lock") or name.startswith("fsmonitor--daemon"):
        return Concern.NOTHING
    if name == "index" or name.startswith("sharedindex."):
        return Concern.WORKSPACE | Concern.INDEX
    if name == "config.worktree":
        return Concern.WORKSPACE | Concern.RULES
    return Concern.NOTHING if name in _SILENT_IN_GIT_DIR else Concern.WORKSPACE


def common_dir_concern(directory: str, name: str) -> Concern:
    """Return what ``name`` in ``directory`` (relative to the common dir) concerns."""
    if name.endswith(".lock"):
        return Concern.NOTHING
    if directory == "":
        if name == "config":
            return Concern.CONFIG
        matters = name in {"HEAD", "packed-refs", "shallow", "refs", "reftable"}
        return Concern.REFS if matters else Concern.NOTHING
    if directory == "info":
        if name == "exclude":
            return Concern.RULES
        matters = name in {"attributes", "sparse-checkout", "grafts"}
        return Concern.WORKSPACE if matters else Concern.NOTHING
    if directory == "refs":
        matters = f"refs/{name}" in _SURVEYED_IN_COMMON
        return Concern.REFS if matters else Concern.NOTHING
    return Concern.REFS


def is_surveyed_in_common(directory: str) -> bool:
    """Whether ``directory`` (relative to the common dir) is watched."""
    return directory in _SURVEYED_IN_COMMON or directory.startswith(_SURVEYED_BELOW_COMMON)


def config_signature(text: bytes) -> bytes:
    """Digest of the parts of a git configuration file that can change what is ignored.

    Branch and remote sections are left out: git writes them whenever a branch is made or pushed,
    and with many worktrees of one repository each such line would otherwise cost every one of
    them a look at its ignore rules.
    """
    digest = hashlib.blake2b(digest_size=16)
    relevant = True
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith(b"["):
            relevant = not stripped.lower().startswith((b"[branch", b"[remote", b"[submodule"))
        if relevant:
            digest.update(stripped + b"\n")
    return digest.digest()
