"""Which handler serves which command."""

from collections.abc import Mapping

from bbhost.contract import commands as c
from bbhost.contract.results import EmptyResult, ProjectSourceCheckout
from bbhost.daemon import other_commands
from bbhost.daemon.assembly import Parts
from bbhost.daemon.environment_commands import EnvironmentCommands
from bbhost.daemon.provisioning_events import Publish
from bbhost.daemon.publishing_commands import PublishingCommands
from bbhost.session.dispatch import Handler
from bbhost.workspace.branches import read_branches


def make_handlers(
    parts: Parts, publishing: PublishingCommands, publish: Publish
) -> Mapping[str, Handler]:
    """Bind every command type to what runs it."""
    environments = EnvironmentCommands(parts.supervisor, parts.reconciler, publish)
    files = parts.files

    async def list_branches(command: c.HostListBranches) -> ProjectSourceCheckout:
        return await read_branches(
            parts.git,
            parts.tools.refs,
            command.path,
            query=command.query,
            selected_branch=command.selected_branch,
            limit=command.limit,
        )

    async def delete_thread(command: c.ThreadDeleted) -> EmptyResult:
        # What goes is not reported file by file, and what is gone is not watched: the last thread
        # takes the watch of all storage with it.
        parts.storage_watch.untrack(command.thread_id)
        return await parts.threads.handle_deleted(command)

    def tracking(run: Handler) -> Handler:
        async def run_and_track(command: c.ThreadStart | c.TurnSubmit) -> object:
            result = await run(command)
            # Not before: a refused command makes nothing and has nothing watched.
            parts.storage_watch.track(command.thread_id, command.environment_id)
            return result

        return run_and_track

    threads = parts.threads.handlers()
    return {
        c.EnvironmentProvision.TYPE: environments.provision,
        c.EnvironmentDestroy.TYPE: environments.destroy,
        c.WorkspaceStatusCommand.TYPE: environments.status,
        c.WorkspaceDiffCommand.TYPE: environments.diff,
        c.WorkspaceCommit.TYPE: publishing.commit,
        c.WorkspaceSquashMerge.TYPE: publishing.squash_merge,
        c.HostListFiles.TYPE: files.list_files,
        c.HostListPaths.TYPE: files.list_paths,
        c.HostListBranches.TYPE: list_branches,
        c.HostListManagerTemplates.TYPE: files.list_manager_templates,
        c.HostFileMetadata.TYPE: files.file_metadata,
        c.HostReadFile.TYPE: files.read_file,
        c.HostReadFileRelative.TYPE: files.read_file_relative,
        c.HostWriteFileRelative.TYPE: files.write_file_relative,
        c.HostDeleteFileRelative.TYPE: files.delete_file_relative,
        c.HostDeletePathRelative.TYPE: files.delete_path_relative,
        c.CodexInferenceComplete.TYPE: other_commands.complete,
        c.CodexVoiceTranscribe.TYPE: other_commands.transcribe,
        c.ReplayCaptureList.TYPE: other_commands.list_captures,
        c.ReplayCaptureGet.TYPE: other_commands.get_capture,
        c.ReplayCaptureDelete.TYPE: other_commands.delete_capture,
        c.ReplayRun.TYPE: other_commands.run_capture,
        **threads,
        c.ThreadStart.TYPE: tracking(threads[c.ThreadStart.TYPE]),
        c.TurnSubmit.TYPE: tracking(threads[c.TurnSubmit.TYPE]),
        c.ThreadDeleted.TYPE: delete_thread,
    }


def make_forerunners(parts: Parts) -> Mapping[str, Handler]:
    """Bind command types to what is done at once while one of them waits for its turn.

    The lane lets a destroy run after the provisioning before it, whose set-up script may take a quarter of
    an hour: it need not be finished.
    """

    async def cut_short(command: c.EnvironmentDestroy) -> None:
        await parts.supervisor.cut_short(command.environment_id)

    return {c.EnvironmentDestroy.TYPE: cut_short}
