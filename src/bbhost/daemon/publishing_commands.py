"""``workspace.commit`` and ``workspace.squash_merge``, told truly even over a crash in their middle.

What is true before git changes anything is kept in the journal under the command's id. When the same
command runs again in the next daemon, the facts tell whether the commit had been made already; it is
then reported, and not made twice.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from bbhost.contract import commands as c
from bbhost.contract import results as r
from bbhost.contract.codec import dump_json, parse_json
from bbhost.domain.ids import CommandId
from bbhost.environment.handle import ReadyHandle
from bbhost.environment.supervisor import Supervisor
from bbhost.environment.workspaces import GitWorkspaces
from bbhost.journal.journal import Journal
from bbhost.session.dispatch import current_command
from bbhost.toolkit.faults import fault_point
from bbhost.workspace.commit import (
    CommitFacts,
    commit_workspace,
    find_finished_commit,
    note_commit_facts,
)
from bbhost.workspace.merge import (
    MergeFacts,
    find_published_merge,
    note_merge_facts,
    squash_merge,
)
from bbhost.workspace.published import CommitSummaryLine

FACTS_PREFIX = "publishing/"
FORGET_EVERY = 32
"""After so many commits the facts of those that have been answered are dropped."""

Facts = TypeVar("Facts", CommitFacts, MergeFacts)


class PublishingCommands:
    """Handlers of the commands that make commits."""

    def __init__(
        self, supervisor: Supervisor, workspaces: GitWorkspaces, journal: Journal
    ) -> None:
        self._supervisor = supervisor
        self._workspaces = workspaces
        self._journal = journal
        self._noted = 0

    async def forget_settled(self) -> None:
        """Drop the facts of commands that have been answered. Called at start, and now and then."""
        pending = {entry.command_id for entry in await self._journal.pending_commands()}
        for key in await self._journal.facts(FACTS_PREFIX):
            if CommandId(key.removeprefix(FACTS_PREFIX)) not in pending:
                await self._journal.set_fact(key, None)

    async def commit(self, command: c.WorkspaceCommit) -> r.WorkspaceCommitResult:
        """``workspace.commit``: everything, hooks skipped."""
        handle = await self._supervisor.enter(command.environment_id, command.workspace_context)
        made = await handle.call(self._commit, handle, command.message)
        return r.WorkspaceCommitResult(made.sha, made.subject)

    async def squash_merge(self, command: c.WorkspaceSquashMerge) -> r.WorkspaceSquashMergeResult:
        """``workspace.squash_merge``: one commit on a local branch."""
        handle = await self._supervisor.enter(command.environment_id, command.workspace_context)
        made = await handle.call(self._merge, handle, command)
        return r.WorkspaceSquashMergeResult(True, made.sha, made.subject)

    async def _commit(self, handle: ReadyHandle, message: str) -> CommitSummaryLine:
        repository = await self._workspaces.repository(handle.path)
        tools = self._workspaces.tools
        return await self._once(
            CommitFacts,
            note=lambda: note_commit_facts(tools, repository, message),
            find=lambda facts: find_finished_commit(tools, repository, facts),
            make=lambda _facts: commit_workspace(tools, repository, message),
        )

    async def _merge(
        self, handle: ReadyHandle, command: c.WorkspaceSquashMerge
    ) -> CommitSummaryLine:
        repository = await self._workspaces.repository(handle.path)
        tools = self._workspaces.tools
        # Noting and merging under one lock: of two merges into one branch the second must see the first.
        async with tools.locks.branch(repository.common_dir, command.target_branch):
            return await self._once(
                MergeFacts,
                note=lambda: note_merge_facts(
                    tools, repository, command.target_branch, command.commit_message
                ),
                find=lambda facts: find_published_merge(tools, repository, facts),
                make=lambda facts: squash_merge(tools, repository, facts),
            )

    async def _once(
        self,
        kind: type[Facts],
        *,
        note: Callable[[], Awaitable[Facts]],
        find: Callable[[Facts], Awaitable[CommitSummaryLine | None]],
        make: Callable[[Facts], Awaitable[CommitSummaryLine]],
    ) -> CommitSummaryLine:
        running = current_command.get()
        key = FACTS_PREFIX + running.command_id
        kept = await self._journal.get_fact(key) if running.resumed else None
        if kept is not None:
            facts = kind(**parse_json(kept))
            found = await find(facts)
            if found is not None:
                return found
        facts = await note()
        await self._journal.set_fact(key, dump_json(_plain(facts)))
        self._noted += 1
        if self._noted % FORGET_EVERY == 0:
            await self.forget_settled()
        fault_point("publishing.noted")
        made = await make(facts)
        fault_point("publishing.made")
        return made


def _plain(facts: CommitFacts | MergeFacts) -> dict[str, str | None]:
    import attrs

    return attrs.asdict(facts)
