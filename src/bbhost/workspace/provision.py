"""Making the workspace that a specification asks for, or taking over the one that is there."""

from pathlib import Path

from attrs import frozen

from bbhost.domain.workspace import (
    AttachSpec,
    DiscoveredWorkspace,
    ManagedWorktreeSpec,
    PersonalSpec,
    UnmanagedSpec,
    WorkspaceKind,
    WorkspaceSpec,
)
from bbhost.processes.spawn import ProcessOpener
from bbhost.workspace.checkout import switch_branch
from bbhost.workspace.discover import describe_workspace, find_workspace, report_branch
from bbhost.workspace.making import BeforeCreating, nothing_before
from bbhost.workspace.managed import Maker
from bbhost.workspace.personal import provision_personal
from bbhost.workspace.tools import WorkspaceTools
from bbhost.workspace.transcript import Transcript


@frozen
class ProvisionedWorkspace:
    """A workspace that can be used."""

    discovered: DiscoveredWorkspace
    created: bool
    """It was made now; False: it was there."""


async def provision_workspace(
    tools: WorkspaceTools,
    environment_id: str,
    spec: WorkspaceSpec,
    transcript: Transcript,
    boundary: ProcessOpener | None,
    *,
    incarnation: int = 0,
    before_creating: BeforeCreating = nothing_before,
) -> ProvisionedWorkspace:
    """Make or take over a workspace.

    Args:
        boundary: where the set-up script runs.
        before_creating: awaited before the first thing is made, not where the workspace is there
            already: what a rollback may do later depends on it.

    Raises:
        BbhostError: as the wire contract's section 19.1 says; ``transcript`` has the failure.
        OSError: the disk is full, a directory is not writable, ...

    Cancellation: what was made is removed again, shielded for up to half a minute; the branch stays.
    """
    match spec:
        case UnmanagedSpec():
            return await _provision_unmanaged(tools, spec, transcript)
        case ManagedWorktreeSpec():
            maker = Maker(
                tools, environment_id, incarnation, spec, transcript, boundary, before_creating
            )
            described, created = await maker.provision()
            return ProvisionedWorkspace(described.discovered, created)
        case PersonalSpec():
            discovered, created = await provision_personal(
                environment_id, spec.target_path, tools.data_dir, before_creating
            )
            transcript.completed("workspace-path", f"Using workspace: {discovered.path}")
            return ProvisionedWorkspace(discovered, created)
        case AttachSpec():
            return await _attach(tools, spec)


async def _provision_unmanaged(
    tools: WorkspaceTools, spec: UnmanagedSpec, transcript: Transcript
) -> ProvisionedWorkspace:
    path = Path(spec.path)
    if spec.checkout is not None:
        await switch_branch(tools, path, spec.checkout, transcript)
    described = await describe_workspace(tools, await find_workspace(path))
    transcript.completed("workspace-path", f"Using workspace: {path}")
    report_branch(described, transcript)
    return ProvisionedWorkspace(described.discovered, created=False)


async def _attach(tools: WorkspaceTools, spec: AttachSpec) -> ProvisionedWorkspace:
    found = await find_workspace(Path(spec.path))
    if spec.kind is WorkspaceKind.PERSONAL:
        discovered = DiscoveredWorkspace(spec.path, False, False, None, None)
        return ProvisionedWorkspace(discovered, created=False)
    described = await describe_workspace(tools, found)
    return ProvisionedWorkspace(described.discovered, created=False)
