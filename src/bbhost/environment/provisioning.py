"""The work of ``provisioning``: make or attach the workspace."""

import logging
from collections.abc import Awaitable, Callable

from attrs import define, field

from bbhost.domain.environment import EnvironmentRecord
from bbhost.domain.workspace import AttachSpec, DiscoveredWorkspace, TranscriptEntry
from bbhost.environment.ports import EntrySink, EnvironmentServices, OwnedBoundary
from bbhost.errors import BbhostError

log = logging.getLogger(__name__)

MAX_TRANSCRIPT_ENTRIES = 5_000
"""Beyond it, entries still stream to listeners but the middle is left out of the result."""


@define(eq=False)
class ProvisionProgress:
    """The transcript of one provisioning, and who listens to it."""

    entries: list[TranscriptEntry] = field(factory=list)
    omitted: int = 0
    listeners: list[EntrySink] = field(factory=list)

    def note(self, entry: TranscriptEntry) -> None:
        """Remember ``entry`` and hand it to every listener."""
        if len(self.entries) < MAX_TRANSCRIPT_ENTRIES or entry.type == "step":
            self.entries.append(entry)
        else:
            self.omitted += 1
        for listener in self.listeners:
            listener(entry)


async def provision(
    record: EnvironmentRecord,
    services: EnvironmentServices,
    boundary: OwnedBoundary,
    progress: ProvisionProgress,
    before_creating: Callable[[], Awaitable[None]],
) -> DiscoveredWorkspace:
    """Make the workspace of ``record``, or take over the one that is there.

    Raises:
        BbhostError: with the wire code of what went wrong; anything unexpected becomes one.

    Cancellation: git and the set-up script have ended; what was made is left for the rollback.
    """
    try:
        if isinstance(record.spec, AttachSpec):
            return await services.workspaces.discover(record.path, record.kind)
        return await services.workspaces.provision(
            record.environment_id,
            record.incarnation,
            record.spec,
            boundary,
            progress.note,
            before_creating,
        )
    except BbhostError:
        raise
    except OSError as error:
        raise BbhostError(str(error), code=_errno_code(error)) from error
    except Exception as error:
        log.exception(
            "provisioning failed unexpectedly", extra={"environment": record.environment_id}
        )
        raise BbhostError(f"Provisioning failed: {error!r}") from error


def _errno_code(error: OSError) -> str:
    import errno

    return errno.errorcode.get(error.errno or 0, "command_failed")
