"""A data directory, a source repository, and what tests do with them."""

import os
from pathlib import Path

from attrs import define, field, frozen

from bbhost.domain.workspace import ManagedWorktreeSpec
from bbhost.workspace.evidence import WorktreeRemoval
from bbhost.workspace.provision import ProvisionedWorkspace, provision_workspace
from bbhost.workspace.removal import RemovalReport, remove_managed_worktree
from bbhost.workspace.tools import WorkspaceTools, make_tools
from bbhost.workspace.transcript import Transcript
from tests.integration.workspace.scratch import git_text


@define
class World:
    """One daemon's worth of workspaces."""

    data: Path
    source: Path
    tools: WorkspaceTools = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.tools = make_tools(self.data)

    def target(self, environment_id: str = "env_1") -> Path:
        return self.data / "worktrees" / environment_id / "repo"

    def spec(self, environment_id: str = "env_1", **changes: object) -> ManagedWorktreeSpec:
        values: dict[str, object] = {
            "source_path": str(self.source),
            "target_path": str(self.target(environment_id)),
            "branch_name": f"bb/{environment_id}",
            "base_branch": None,
            "setup_timeout_ms": 20_000,
        }
        return ManagedWorktreeSpec(**{**values, **changes})  # type: ignore[arg-type]

    async def provision(
        self,
        environment_id: str = "env_1",
        transcript: Transcript | None = None,
        **changes: object,
    ) -> ProvisionedWorkspace:
        return await provision_workspace(
            self.tools,
            environment_id,
            self.spec(environment_id, **changes),
            transcript or Transcript(),
            None,
        )

    def removal(self, environment_id: str = "env_1", incarnation: int = 1) -> WorktreeRemoval:
        return WorktreeRemoval(
            environment_id, incarnation, self.target(environment_id), self.data, self.source
        )

    async def remove(self, environment_id: str = "env_1", **options: object) -> RemovalReport:
        return await remove_managed_worktree(
            self.tools,
            self.removal(environment_id),
            **options,  # type: ignore[arg-type]
        )

    def leftovers(self) -> list[str]:
        """What is beneath the managed root, and what git has registered besides the source."""
        root = self.data / "worktrees"
        files = [str(path.relative_to(root)) for path in sorted(root.rglob("*"))]
        listed = git_text(self.source, "worktree", "list", "--porcelain").splitlines()
        registered = [line for line in listed if line.startswith("worktree ")][1:]
        registrations = Path(git_text(self.source, "rev-parse", "--git-common-dir"))
        names = self.source / registrations / "worktrees"
        return files + registered + [str(name) for name in names.glob("*")]


@frozen
class Snapshot:
    """Bytes, modes and symlinks of a tree, without ``.git``."""

    entries: dict[str, tuple[str, int, bytes]]

    @classmethod
    def of(cls, root: Path) -> "Snapshot":
        entries = {}
        for directory, names, files in os.walk(root):
            names[:] = [name for name in names if name != ".git"]
            for name in [*files, *[n for n in names if (Path(directory) / n).is_symlink()]]:
                path = Path(directory) / name
                relative = str(path.relative_to(root))
                if relative == ".git":
                    continue
                if path.is_symlink():
                    entries[relative] = ("link", 0, os.fsencode(path.readlink()))
                else:
                    entries[relative] = ("file", path.stat().st_mode & 0o777, path.read_bytes())
        return cls(entries)
