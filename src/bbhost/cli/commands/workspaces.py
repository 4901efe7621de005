"""``bbhost env status|diff|commit|merge``: the workspaces of environments."""

from typing import Annotated, Any

import typer

from bbhost.cli.commanding import Answer, Cli, hub_command
from bbhost.cli.commands.arguments import Named
from bbhost.cli.printing import clean, clean_lines, note, say, say_facts, say_table

Message = Annotated[str, typer.Option("--message", "-m", help="Message of the commit.")]
Base = Annotated[str | None, typer.Option(help="Branch to compare with.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``bbhost env``."""

    @hub_command(app, "status")
    async def status(cli: Cli, environment: Named, base: Base = None) -> Answer | None:
        """Tell what has changed in a workspace."""
        from bbhost.cli.following import environment_path, find_environment
        from bbhost.contract.codec import unstructure
        from bbhost.contract.results import WorkspaceStatusResult

        async with cli.client() as client:
            found = await find_environment(client, environment)
            result = await client.get(
                WorkspaceStatusResult, environment_path(found.id, "/status"), merge_base=base
            )
        return Answer(
            {"environmentId": found.id, **unstructure(result)},
            lambda: _show_status(result.workspace_status),
        )

    @hub_command(app, "diff")
    async def diff(
        cli: Cli,
        environment: Named,
        base: Base = None,
        committed: Annotated[
            bool, typer.Option("--committed", help="With --base: commits only.")
        ] = False,
        commit: Annotated[str | None, typer.Option(help="Of one commit.")] = None,
        max_bytes: Annotated[int | None, typer.Option(help="Cut a longer diff.")] = None,
    ) -> Answer | None:
        """Show the changes in a workspace; against the merge base where --base is given."""
        from bbhost.cli.following import environment_path, find_environment
        from bbhost.contract.codec import unstructure
        from bbhost.contract.results import WorkspaceDiffResult

        target = "commit" if commit else "uncommitted"
        if base is not None and commit is None:
            target = "branch_committed" if committed else "all"
        async with cli.client() as client:
            found = await find_environment(client, environment)
            result = await client.get(
                WorkspaceDiffResult,
                environment_path(found.id, "/diff"),
                target=target,
                merge_base=base,
                sha=commit,
                max_diff_bytes=max_bytes,
            )
        return Answer(
            {"environmentId": found.id, **unstructure(result)}, lambda: _show_diff(result.diff)
        )

    @hub_command(app, "commit")
    async def commit_all(cli: Cli, environment: Named, message: Message) -> Answer | None:
        """Commit everything in a workspace."""
        from bbhost.cli.following import environment_path, find_environment
        from bbhost.contract.codec import unstructure
        from bbhost.contract.results import WorkspaceCommitResult
        from bbhost.hub.api.environments import CommitRequest

        async with cli.client() as client:
            found = await find_environment(client, environment)
            result = await client.post(
                WorkspaceCommitResult,
                environment_path(found.id, "/commit"),
                CommitRequest(message),
            )
        data = unstructure(result)
        return Answer({"environmentId": found.id, **data}, lambda: say_facts(list(data.items())))

    @hub_command(app, "merge")
    async def merge(
        cli: Cli,
        environment: Named,
        into: Annotated[str, typer.Option(help="Local branch to merge into.")],
        message: Message,
    ) -> Answer | None:
        """Merge a workspace's branch into a local branch as one commit."""
        from bbhost.cli.following import environment_path, find_environment
        from bbhost.contract.codec import unstructure
        from bbhost.contract.results import WorkspaceSquashMergeResult
        from bbhost.hub.api.environments import SquashMergeRequest

        async with cli.client() as client:
            found = await find_environment(client, environment)
            result = await client.post(
                WorkspaceSquashMergeResult,
                environment_path(found.id, "/squash-merge"),
                SquashMergeRequest(into, message),
            )
        data = unstructure(result)
        return Answer({"environmentId": found.id, **data}, lambda: say_facts(list(data.items())))


def _show_status(status: Any) -> None:  # noqa: ANN401 - a WorkspaceStatus, imported late
    tree, base = status.working_tree, status.merge_base
    facts = [
        ("branch", status.branch.current_branch or "(detached)"),
        ("state", tree.state),
        (
            "lines",
            f"+{tree.insertions} -{tree.deletions}" if tree.has_uncommitted_changes else None,
        ),
    ]
    if base is not None:
        where = f"{base.ahead_count} ahead, {base.behind_count} behind {base.merge_base_branch}"
        facts.append(("commits", where))
    say_facts(facts)
    if tree.files:
        say()
        say_table(
            ["", "file", "+", "-"],
            [(one.status, one.path, one.insertions, one.deletions) for one in tree.files],
        )
    for commit in base.commits if base is not None else ():
        say(f"{clean(commit.short_sha)} {clean(commit.subject)}")


def _show_diff(diff: Any) -> None:  # noqa: ANN401 - a Diff, imported late
    if diff.diff:
        say(clean_lines(diff.diff.removesuffix("\n")))
    if diff.truncated:
        note("(cut; --max-bytes shows more)")
    if diff.shortstat:
        note(clean(diff.shortstat.strip()))
