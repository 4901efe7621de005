"""Uploads that come with a request: downloaded into the thread's storage, and named by their path.

The path of a file or an image that is neither absolute nor a URL is the token of an upload.
"""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from attrs import evolve

from bbhost.contract.execution import LocalFileInput, LocalImageInput, PromptInput
from bbhost.domain.ids import ThreadId
from bbhost.environment.threads.ports import ThreadPorts
from bbhost.errors import AttachmentError, BbhostError

FILE_BYTES = 25 * 1024 * 1024
IMAGE_BYTES = 10 * 1024 * 1024
_IN_PLACE = re.compile(r"/|\\\\|[A-Za-z]:[\\/]|[A-Za-z][A-Za-z0-9+.-]*:")
"""How an absolute path (also of Windows) or a URL begins."""


def is_upload(one: PromptInput) -> bool:
    """Whether it has to be downloaded."""
    return isinstance(one, LocalFileInput | LocalImageInput) and not _IN_PLACE.match(one.path)


async def stage_attachments(
    ports: ThreadPorts,
    thread_id: ThreadId,
    project_id: str,
    request_id: str,
    inputs: Sequence[PromptInput],
) -> tuple[PromptInput, ...]:
    """Download every upload among ``inputs``; return them with paths in place of tokens.

    Raises:
        AttachmentError: one of them cannot be had; nothing is left of the others.

    Cancellation: what was stored already stays, for the same request to be tried again.
    """
    staged: list[PromptInput] = []
    failure: BbhostError | None = None
    try:
        for index, one in enumerate(inputs):
            if isinstance(one, LocalFileInput | LocalImageInput) and is_upload(one):
                data = await ports.server.read_attachment(thread_id, project_id, one.path)
                _check_size(one, len(data))
                path = await ports.storage.store_attachment(
                    thread_id, request_id, index, _name_of(one), data
                )
                upload: Any = one  # type checkers see a wire class as a dataclass
                staged.append(evolve(upload, path=str(path)))
            else:
                staged.append(one)
    except BbhostError as error:
        failure = error
    if failure is not None:
        await ports.storage.delete_attachments(thread_id, request_id)
        raise AttachmentError(f"An attachment cannot be had: {failure.message}") from failure
    return tuple(staged)


def _check_size(one: LocalFileInput | LocalImageInput, size: int) -> None:
    limit = IMAGE_BYTES if isinstance(one, LocalImageInput) else FILE_BYTES
    if size > limit:
        raise AttachmentError(f"{_name_of(one)} has {size} bytes; at most {limit} are taken")
    declared = one.size_bytes if isinstance(one, LocalFileInput) else None
    if declared is not None and declared != size:
        raise AttachmentError(f"{_name_of(one)} has {size} bytes and not {declared}")


def _name_of(one: LocalFileInput | LocalImageInput) -> str:
    named = one.name if isinstance(one, LocalFileInput) else None
    return named or PurePosixPath(one.path).name or "attachment"
