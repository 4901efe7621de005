"""The wire shapes of domain values, which are the same inside and outside."""

from typing import Literal

from bbhost.contract.fields import BranchName, CommitPrefix, NonEmpty, PositiveInt
from bbhost.contract.wire import declare
from bbhost.domain.status import AllDiff, BranchCommittedDiff, CommitDiff, UncommittedDiff
from bbhost.domain.workspace import (
    DiscoveredWorkspace,
    ExistingBranchCheckout,
    ManagedWorktreeSpec,
    NewBranchCheckout,
    PersonalSpec,
    TranscriptEntry,
    UnmanagedSpec,
    WorkspaceContext,
)

EntryType = Literal["step", "output"]
"""Kinds of transcript entries."""

ProvisionSpec = UnmanagedSpec | ManagedWorktreeSpec | PersonalSpec
"""The workspaces that a server can ask for."""

_SPEC_KEY = "workspaceProvisionType"


def declare_domain() -> None:
    """Declare every domain class that goes over the wire. Called once, by the codec."""
    declare(WorkspaceContext, types={"workspace_path": NonEmpty})
    declare(DiscoveredWorkspace, types={"path": NonEmpty})
    declare(TranscriptEntry, types={"type": EntryType})
    _declare_specs()
    _declare_diff_targets()


def _declare_specs() -> None:
    declare(
        ExistingBranchCheckout, tag=("kind", "existing"), strict=True, types={"name": BranchName}
    )
    declare(
        NewBranchCheckout,
        tag=("kind", "new"),
        strict=True,
        types={"name": BranchName, "base_branch": BranchName},
    )
    declare(UnmanagedSpec, tag=(_SPEC_KEY, "unmanaged"))
    declare(PersonalSpec, tag=(_SPEC_KEY, "personal"))
    declare(
        ManagedWorktreeSpec,
        tag=(_SPEC_KEY, "managed-worktree"),
        types={
            "branch_name": BranchName,
            "base_branch": BranchName | None,
            "setup_timeout_ms": PositiveInt,
        },
    )


def _declare_diff_targets() -> None:
    declare(UncommittedDiff, tag=("type", "uncommitted"))
    declare(BranchCommittedDiff, tag=("type", "branch_committed"))
    declare(AllDiff, tag=("type", "all"))
    declare(CommitDiff, tag=("type", "commit"), types={"sha": CommitPrefix})
