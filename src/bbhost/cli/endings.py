"""What becomes of the work in an environment, after a turn: committed, merged, destroyed, or kept.

Rule 1: a merge takes everything; what is not committed is committed before it.
Rule 2: after a turn that did not complete, nothing is committed or merged by itself.
Rule 3: nothing is destroyed after a deed that should have saved the work and did not.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from attrs import define, field, frozen

from bbhost.cli.client import HubClient
from bbhost.cli.following import environment_path, follow_until_settled
from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.contract.results import (
    WorkspaceCommitResult,
    WorkspaceDiffResult,
    WorkspaceSquashMergeResult,
    WorkspaceStatusResult,
)
from bbhost.domain.status import WorkspaceStatus
from bbhost.hub.api.environments import (
    CommitRequest,
    Environment,
    ServerState,
    SquashMergeRequest,
)
from bbhost.toolkit.counted import counted

MESSAGE_CHARACTERS = 72
"""Of a prompt, what becomes the message of a commit where none is given."""


class Deed(StrEnum):
    """What can be done with the work."""

    KEEP = "keep"
    COMMIT = "commit"
    MERGE = "merge"
    DESTROY = "destroy"


class DeedOutcome(StrEnum):
    """How it went. Words may be added, never changed."""

    DONE = "done"
    NOTHING_TO_DO = "nothing_to_do"
    """There were no changes to commit, or nothing that the branch does not have."""
    SKIPPED = "skipped"
    """The turn did not complete, or an earlier deed was not done."""
    FAILED = "failed"


@frozen
class Done:
    """A deed and how it went."""

    deed: Deed
    outcome: DeedOutcome
    told: str
    """For people, one line."""
    data: dict[str, Any] = field(factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {"deed": self.deed, "outcome": self.outcome, **self.data}


@frozen
class Changes:
    """What the work amounts to."""

    status: WorkspaceStatus
    base: str | None

    @property
    def is_uncommitted(self) -> bool:
        """Whether there is something to commit."""
        return bool(self.status.working_tree.files)

    @property
    def ahead(self) -> int:
        """Commits that the base branch does not have."""
        merge_base = self.status.merge_base
        return 0 if merge_base is None else merge_base.ahead_count

    @property
    def is_empty(self) -> bool:
        """Whether nothing would be lost."""
        return not self.is_uncommitted and not self.ahead

    def describe(self) -> str:
        """For people, one line."""
        tree = self.status.working_tree
        parts = []
        if self.is_uncommitted:
            count = len(tree.files)
            files = counted(count, "file", "files")
            # Lines of new files are not counted.
            lines = tree.insertions or tree.deletions
            parts.append(
                f"{files} changed" + (f" (+{tree.insertions} -{tree.deletions})" if lines else "")
            )
        if self.ahead:
            commits = "1 commit" if self.ahead == 1 else f"{self.ahead} commits"
            parts.append(f"{commits} ahead of {self.base}")
        return ", ".join(parts) or "no changes"


@define(eq=False)
class Work:
    """The work in one environment."""

    client: HubClient
    environment: Environment
    message: str
    """Of commits, where no other is given."""
    into: str | None
    """Branch to merge into; None where there is none to compare with either."""
    done: list[Done] = field(factory=list)

    async def look(self) -> Changes:
        """Ask what there is."""
        found = await self.client.get(
            WorkspaceStatusResult, self._path("/status"), merge_base=self.into
        )
        return Changes(found.workspace_status, self.into)

    async def diff(self) -> WorkspaceDiffResult:
        """All that is not in the base branch."""
        target = "uncommitted" if self.into is None else "all"
        return await self.client.get(
            WorkspaceDiffResult, self._path("/diff"), target=target, merge_base=self.into
        )

    async def do_all(self, deeds: Sequence[Deed], *, completed: bool) -> None:
        """Do what a script asked for, in order.

        Args:
            completed: the turn did.
        """
        is_safe = True
        for deed in deeds:
            if deed is Deed.KEEP:
                continue
            may = is_safe if deed is Deed.DESTROY else is_safe and completed
            if may:
                one = await self.do(deed)
            else:
                why = "an earlier step was not done" if completed else "the turn did not complete"
                one = Done(deed, DeedOutcome.SKIPPED, f"{deed} skipped: {why}")
                self.done.append(one)
            is_safe = is_safe and one.outcome in {DeedOutcome.DONE, DeedOutcome.NOTHING_TO_DO}

    async def do(self, deed: Deed, message: str | None = None) -> Done:
        """Do one thing. A refusal is an outcome; only a hub that has gone is an error."""
        text = message or self.message
        try:
            match deed:
                case Deed.COMMIT:
                    one = await self._commit(text)
                case Deed.MERGE:
                    one = await self._merge(text)
                case Deed.DESTROY:
                    one = await self._destroy()
                case Deed.KEEP:
                    one = Done(deed, DeedOutcome.DONE, "kept")
        except CommandError as error:
            if error.outcome is Outcome.UNREACHABLE:
                raise
            data = {"error": {"code": error.code, "message": error.message}}
            one = Done(deed, DeedOutcome.FAILED, f"{deed} failed: {error.message}", data)
        self.done.append(one)
        return one

    @property
    def ending(self) -> str:
        """The last thing that was done with the work, as a word for programs."""
        words = {Deed.COMMIT: "committed", Deed.MERGE: "merged", Deed.DESTROY: "destroyed"}
        done = [one.deed for one in self.done if one.outcome is DeedOutcome.DONE]
        return words.get(done[-1], "kept") if done else "kept"

    @property
    def is_destroyed(self) -> bool:
        """Whether the environment has gone."""
        return self.ending == "destroyed"

    @property
    def has_failed(self) -> bool:
        """Whether something that was asked for did not happen."""
        bad = {DeedOutcome.FAILED, DeedOutcome.SKIPPED}
        return any(one.outcome in bad for one in self.done)

    async def _commit(self, message: str) -> Done:
        if not (await self.look()).is_uncommitted:
            told = "nothing to commit: the workspace has no changes"
            return Done(Deed.COMMIT, DeedOutcome.NOTHING_TO_DO, told)
        made = await self.client.post(
            WorkspaceCommitResult, self._path("/commit"), CommitRequest(message)
        )
        told = f"committed {made.commit_sha[:10]} {made.commit_subject}"
        return Done(Deed.COMMIT, DeedOutcome.DONE, told, {"commitSha": made.commit_sha})

    async def _merge(self, message: str) -> Done:
        if self.into is None:
            raise CommandError(Outcome.REFUSED, "no branch to merge into is known; name one")
        changes = await self.look()
        if changes.is_empty:
            told = f"nothing to merge: {self.into} has everything"
            return Done(Deed.MERGE, DeedOutcome.NOTHING_TO_DO, told)
        if changes.is_uncommitted:
            await self.client.post(
                WorkspaceCommitResult, self._path("/commit"), CommitRequest(message)
            )
        merged = await self.client.post(
            WorkspaceSquashMergeResult,
            self._path("/squash-merge"),
            SquashMergeRequest(self.into, message),
        )
        told = f"merged into {self.into} as {merged.commit_sha[:10]} {merged.commit_subject}"
        data = {"into": self.into, "commitSha": merged.commit_sha}
        return Done(Deed.MERGE, DeedOutcome.DONE, told, data)

    async def _destroy(self) -> Done:
        await self.client.delete(Environment, self._path())
        gone = await follow_until_settled(self.client, self.environment.id)
        if gone.state is not ServerState.DESTROYED:
            fault = gone.error
            raise CommandError(
                Outcome.FAILED,
                fault.message if fault is not None else f"the environment is {gone.state}",
                code=fault.code if fault is not None else None,
            )
        return Done(Deed.DESTROY, DeedOutcome.DONE, "the environment is destroyed")

    def _path(self, rest: str = "") -> str:
        return environment_path(self.environment.id, rest)


def message_of(prompt: str) -> str:
    """A commit's message from what the agent was asked to do: its first line, cut."""
    line = next((one.strip() for one in prompt.splitlines() if one.strip()), "Work of an agent")
    return line if len(line) <= MESSAGE_CHARACTERS else line[: MESSAGE_CHARACTERS - 3] + "..."
