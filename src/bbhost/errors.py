"""The exceptions of bbhost.

Every fault that a server or a user may be told about is a :class:`BbhostError` with a ``code`` (the
error code of the wire contract, section 22) and a message that says what to do where something can
be done. Anything else that escapes is a defect and is reported as ``command_failed``.
"""


class BbhostError(Exception):
    """Base of all expected faults.

    Args:
        message: one sentence for people; never empty.
        code: wire error code; the class default where omitted.
    """

    code = "command_failed"
    expected = False
    """True for faults that are an ordinary answer and not worth a log line."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message or "unspecified failure")
        if code is not None:
            self.code = code

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self.args[0])


# --- environments ---------------------------------------------------------------------------


class EnvironmentDestroyedError(BbhostError):
    """The environment is destroying or tombstoned; nothing was touched."""

    code = "environment_destroyed"
    expected = True


class BoundaryClosedError(EnvironmentDestroyedError):
    """The environment's processes have been ended; no further one was started."""


class EnvironmentBusyError(BbhostError):
    """Another provisioning with a different specification is under way."""

    code = "environment_busy"


class UnknownEnvironmentError(BbhostError):
    """No live environment has this id and the command must not attach one."""

    code = "unknown_environment"


# --- paths and files ------------------------------------------------------------------------


class PathNotFoundError(BbhostError):
    """A workspace path does not exist."""

    code = "path_not_found"
    expected = True


class InvalidPathError(BbhostError):
    """A path is relative, escapes its root, or is of the wrong kind."""

    code = "invalid_path"


class FileMissingError(BbhostError):
    """A file asked for does not exist."""

    code = "ENOENT"
    expected = True


class WatchRefusedError(BbhostError):
    """The directory is too broad to watch (the home directory, ``/``)."""

    code = "invalid_path"
    expected = True


# --- git ------------------------------------------------------------------------------------


class UnreadableRepositoryError(BbhostError):
    """Whether there is a repository cannot be told now; the code is the system's own (``EMFILE``, ...)."""


class NotGitRepoError(BbhostError):
    """The workspace is not a git work tree."""

    code = "not_git_repo"
    expected = True


class GitCommandError(BbhostError):
    """A git process failed."""

    code = "git_command_failed"


class GitTimeoutError(BbhostError):
    """A git process took longer than its deadline and was ended."""

    code = "git_command_timeout"


# --- making, changing and removing workspaces -------------------------------------------------


class WorkspaceBusyError(BbhostError):
    """Another operation held a workspace or a repository for longer than the wait limit."""

    code = "workspace_busy"


class PathExistsError(BbhostError):
    """Something else is already where a workspace is to be made."""

    code = "path_exists"


class MissingDefaultBranchError(BbhostError):
    """No base branch was given and the source repository has no branch to start from."""

    code = "missing_default_branch"


class InvalidPersonalPathError(BbhostError):
    """A personal workspace must be the directory named after its environment, and nothing else."""

    code = "invalid_personal_workspace_path"


class SetupScriptError(BbhostError):
    """The set-up script of a new worktree failed or took too long."""

    code = "setup_script_failed"


class CheckoutRefusedError(BbhostError):
    """An unmanaged workspace cannot be switched to a branch now; ``code`` is a ``checkout_*``."""

    code = "checkout_unknown"


class MergeRefusedError(BbhostError):
    """A squash merge cannot be made; ``code`` says which condition does not hold."""

    code = "branch_not_found"


class WorktreeCleanupError(BbhostError):
    """A temporary worktree could not be removed."""

    code = "worktree_cleanup_failed"


class WorktreeLockedError(BbhostError):
    """Somebody locked the worktree (``git worktree lock``); it is left as it is."""

    code = "worktree_locked"


class NotRemovableError(BbhostError):
    """It is not certain that this path is ours to remove; nothing was touched."""

    code = "workspace_not_removable"


class RescueError(BbhostError):
    """Rescued work cannot be shown or given back."""

    code = "rescue_failed"


# --- threads and agents -----------------------------------------------------------------------


class UnknownProviderError(BbhostError):
    """No provider has this id."""

    code = "unknown_provider"


class MissingExecutableError(BbhostError):
    """The program of a provider is not on PATH."""

    code = "missing_executable"


class AgentError(BbhostError):
    """An agent refused, broke its protocol, did not answer in time, or has gone."""


class AttachmentError(BbhostError):
    """A file that came with a message cannot be had."""

    code = "attachment_unavailable"


class StaleInteractionError(BbhostError):
    """Nobody waits for this answer any more."""

    code = "stale_interactive_request"


class InteractionMismatchError(BbhostError):
    """The question is known to the server under another id."""

    code = "interactive_request_mismatch"


# --- the daemon itself ----------------------------------------------------------------------


class JournalError(BbhostError):
    """The journal cannot be read or written; it is never overwritten."""

    code = "journal_unusable"


class ConfigError(BbhostError):
    """A setting is missing or wrong."""

    code = "invalid_configuration"


class WireError(BbhostError):
    """A message does not follow the wire contract. ``path`` names the field."""

    code = "invalid_command"

    def __init__(self, message: str, *, path: str = "", code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.path = path
