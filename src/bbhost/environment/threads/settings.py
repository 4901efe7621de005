"""From a command's context to what an agent is given."""

from pathlib import Path

import trio

from bbhost.agents.definitions import ProviderDefinition
from bbhost.agents.provider import AgentPlace, ThreadSettings
from bbhost.agents.shell_environ import ShellFacts, shell_variables
from bbhost.contract.execution import ExecutionOptions, ResumeContext, ThreadContext
from bbhost.domain.ids import ThreadId
from bbhost.environment.handle import ReadyHandle
from bbhost.environment.threads.ports import StoragePort
from bbhost.processes.environ import child_environ
from bbhost.workspace.repository import discover_repository

_WRITTEN_BY_COMMITS = ("objects", "refs", "logs")
"""Of a repository's common directory, what a commit in one of its worktrees writes to."""


def agent_place(handle: ReadyHandle, definition: ProviderDefinition) -> AgentPlace:
    """Where the agents of an environment run."""
    return AgentPlace(handle.boundary, Path(handle.path), child_environ(definition.environ))


async def thread_settings(
    handle: ReadyHandle,
    thread_id: ThreadId,
    context: ThreadContext | ResumeContext,
    options: ExecutionOptions,
    storage: StoragePort,
    facts: ShellFacts,
) -> ThreadSettings:
    """What stays the same for all turns of a thread."""
    roots = await trio.to_thread.run_sync(_git_roots, handle.path)
    return ThreadSettings(
        thread_id=thread_id,
        options=options,
        instructions=context.instructions,
        instruction_mode=context.instruction_mode,
        dynamic_tools=context.dynamic_tools,
        resume=context.provider_thread_id if isinstance(context, ResumeContext) else None,
        shell_variables=shell_variables(
            facts,
            child_environ(),
            project_id=context.project_id,
            thread_id=thread_id,
            environment_id=handle.environment_id,
            thread_storage=str(storage.path_of(thread_id)),
        ),
        writable_roots=(*roots, str(storage.root)),
    )


def _git_roots(workspace: str) -> list[str]:
    """Directories outside of a worktree that git writes to when something is committed there."""
    repository = discover_repository(workspace)
    if repository is None or not repository.is_worktree:
        return []
    common = repository.common_dir
    roots = [repository.git_dir, *(common / name for name in _WRITTEN_BY_COMMITS)]
    return [str(root) for root in roots if not root.is_relative_to(workspace)]
