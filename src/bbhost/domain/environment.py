"""What the journal remembers of an environment."""

from enum import StrEnum

from attrs import frozen

from bbhost.domain.ids import EnvironmentId, Incarnation
from bbhost.domain.workspace import WorkspaceKind, WorkspaceSpec, workspace_kind, workspace_path


class EnvironmentState(StrEnum):
    """The states of the environment machine (``lifecycle/environment.py`` has the table)."""

    PROVISIONING = "provisioning"
    READY = "ready"
    DESTROYING = "destroying"
    TOMBSTONED = "tombstoned"


class TeardownCause(StrEnum):
    """Why an environment is torn down; it selects what teardown may remove."""

    DESTROY = "destroy"
    """The server ordered it: a managed workspace is removed."""
    RETIRE = "retire"
    """The server no longer lists it: everything is stopped, the files stay."""
    ROLLBACK = "rollback"
    """Provisioning failed or was cut short: only what it made is removed."""


@frozen
class EnvironmentRecord:
    """One incarnation of an environment, live or tombstoned."""

    environment_id: EnvironmentId
    incarnation: Incarnation
    state: EnvironmentState
    spec: WorkspaceSpec
    changed_at: int
    """Time of the last transition, milliseconds since the epoch."""
    cause: TeardownCause | None = None
    """Set from the moment teardown is accepted."""
    created_workspace: bool = False
    """This incarnation began to make the workspace, so a rollback may remove it."""
    files_remain: bool = False
    """Tombstones only: the workspace was on disk when the tombstone was written."""
    detail: str = ""
    """Why it stands as it does, for people."""

    @property
    def path(self) -> str:
        """Absolute path of the workspace."""
        return workspace_path(self.spec)

    @property
    def is_spent(self) -> bool:
        """A tombstone that keeps nobody from anything once its workspace is gone from the disk."""
        return (
            self.state is EnvironmentState.TOMBSTONED
            and self.kind is not WorkspaceKind.UNMANAGED
            and self.cause is not TeardownCause.RETIRE
        )

    @property
    def kind(self) -> WorkspaceKind:
        """Kind of the workspace."""
        return workspace_kind(self.spec)
