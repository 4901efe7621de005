"""Public operations on uploads."""

from attrs import frozen

from bbhost.contract.fields import NonEmpty
from bbhost.contract.wire import absent
from bbhost.hub.api.threads import Attachment
from bbhost.hub.errors import invalid_request
from bbhost.hub.http.asgi import Reply
from bbhost.hub.http.operations import CREATED, Call, Operation
from bbhost.hub.services.attachments import Attachments

ATTACHMENTS = "/api/v1/projects/{project_id}/attachments"
BYTES = "application/octet-stream"
LONGEST_NAME = 255


@frozen
class UploadQuery:
    """What the file is called, and its media type."""

    name: NonEmpty
    mime_type: NonEmpty | None = absent()


def attachment_operations(attachments: Attachments) -> tuple[Operation, ...]:
    """Return the operations on uploads."""

    async def upload(call: Call) -> object:
        query: UploadQuery = call.query
        mime_type = query.mime_type or BYTES
        if len(query.name) > LONGEST_NAME or not is_media_type(mime_type):
            raise invalid_request("name or mimeType: is malformed")
        return await attachments.add(call.path["project_id"], query.name, mime_type, call.body)

    async def download(call: Call) -> object:
        _, content = await attachments.read(call.path["project_id"], call.path["attachment_id"])
        # Never under the uploader's media type: a page of it would run as this hub's own.
        headers = ((b"content-disposition", b"attachment"),)
        return Reply(200, content, BYTES, headers)

    return (
        Operation(
            "POST", ATTACHMENTS, "uploadAttachment", "Upload a file for prompts of a project",
            upload, Attachment, status=CREATED, query=UploadQuery, upload=True,
        ),
        Operation(
            "GET", f"{ATTACHMENTS}/{{attachment_id}}", "getAttachment", "Download an upload",
            download, None, raw_answer=BYTES,
        ),
    )  # fmt: skip


def is_media_type(text: str) -> bool:
    """Whether ``text`` can stand in a header as a media type."""
    kind, slash, rest = text.partition("/")
    return bool(
        slash
        and kind
        and rest
        and text.isascii()
        and text.isprintable()
        and len(text) <= LONGEST_NAME
    )
