"""Files that people upload for prompts; daemons fetch them when the prompt is used."""

import sqlite3

import trio

from bbhost.contract.ids import new_id
from bbhost.hub.api.threads import Attachment
from bbhost.hub.clock import now_ms
from bbhost.hub.errors import ApiError, not_found
from bbhost.hub.services.core import Core
from bbhost.hub.services.thread_values import require_thread_of_host
from bbhost.hub.storage import thread_files as table
from bbhost.hub.storage.thread_files import AttachmentRow

DIRECTORY_MODE = 0o700


class Attachments:
    """Stores and serves uploads. A file's name on disk is its id, never what the uploader said."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._directory = core.config.attachments_dir

    async def add(self, project_id: str, name: str, mime_type: str, content: bytes) -> Attachment:
        """Keep an upload."""
        row = AttachmentRow(new_id("att", 20), project_id, name, mime_type, len(content), now_ms())
        await trio.to_thread.run_sync(self._write, row.id, content)
        await self._core.database.run(lambda db: table.add_attachment(db, row))
        return Attachment(row.id, project_id, row.id, name, mime_type, row.size_bytes)

    async def read(self, project_id: str, attachment_id: str) -> tuple[AttachmentRow, bytes]:
        """Return an upload of a project and its bytes.

        Raises:
            ApiError: 404.
        """
        row = await self._core.read(
            lambda db: table.find_attachment(db, project_id, attachment_id)
        )
        if row is None:
            raise not_found("attachment", attachment_id)
        content = await trio.Path(self._directory / row.id).read_bytes()
        return row, content

    async def read_for_thread(
        self, host_id: str, thread_id: str, project_id: str, attachment_id: str
    ) -> tuple[AttachmentRow, bytes]:
        """Return an upload to the daemon whose thread's project it belongs to.

        Raises:
            ApiError: 404; 403 another host's thread or another project's.
        """

        def check(db: sqlite3.Connection) -> None:
            thread = require_thread_of_host(db, thread_id, host_id)
            if thread.project_id != project_id:
                raise ApiError(403, "forbidden", "The thread is not of this project")

        await self._core.read(check)
        return await self.read(project_id, attachment_id)

    def _write(self, name: str, content: bytes) -> None:
        self._directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        partial = self._directory / f"{name}.part"
        partial.write_bytes(content)
        partial.replace(self._directory / name)
