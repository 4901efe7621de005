"""Repositories inside a workspace: submodules, and clones or worktrees that lie in the tree.

Git does not look into them: one that is a submodule (the index has an entry of its path) counts by
the commit of its HEAD alone, any other is one untracked name. So the files in them are not watched,
which matters where hundreds of worktrees lie inside one checkout.
"""

import os
from pathlib import Path


def nested_git_dir(directory: str) -> str | None:
    """Return the git dir that the ``.git`` in ``directory`` stands for, None if it is not one.

    Git takes a directory with a broken ``.git`` as an ordinary one.
    """
    git_dir = f"{directory}/.git"
    if os.path.isfile(git_dir):  # noqa: PTH113 - paths are str here, and often not valid unicode
        try:
            pointer = Path(git_dir).read_bytes()
        except OSError:
            return None
        if not pointer.startswith(b"gitdir: "):
            return None
        named = os.fsdecode(pointer[len(b"gitdir: ") :].rstrip(b"\r\n"))
        git_dir = os.path.join(directory, named)  # noqa: PTH118 - the same
    parts = ("HEAD", "refs", "objects")
    if all(os.path.lexists(f"{git_dir}/{part}") for part in parts) or is_linked(git_dir):
        return git_dir
    return None


def is_linked(git_dir: str) -> bool:
    """Whether ``git_dir`` is that of a linked worktree, which keeps its refs elsewhere."""
    return all(os.path.lexists(f"{git_dir}/{part}") for part in ("HEAD", "commondir"))
