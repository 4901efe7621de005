"""What the operations on workspaces share."""

from pathlib import Path

from attrs import frozen

from bbhost.workspace.git import Git
from bbhost.workspace.locks import WorkspaceLocks
from bbhost.workspace.refs import RefsCache
from bbhost.workspace.trash import Trash


@frozen
class WorkspaceTools:
    """One object per daemon."""

    git: Git
    refs: RefsCache
    locks: WorkspaceLocks
    trash: Trash

    @property
    def data_dir(self) -> Path:
        """The daemon's data directory: what lies in its managed roots is ours."""
        return self.trash.data_dir


def make_tools(data_dir: Path, git: Git | None = None) -> WorkspaceTools:
    """Make the tools of a daemon.

    Args:
        data_dir: absolute path of its data directory.
    """
    git = git or Git()
    return WorkspaceTools(git, RefsCache(git), WorkspaceLocks(), Trash(data_dir))
