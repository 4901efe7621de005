"""A user's request as content blocks. Pure."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from bbhost.agents.prompt import file_note
from bbhost.contract.execution import (
    ImageInput,
    LocalFileInput,
    LocalImageInput,
    PromptInput,
    TextInput,
)

Block = dict[str, Any]


def prompt_blocks(inputs: Sequence[PromptInput], instructions: str | None) -> list[Block]:
    """The blocks of a prompt.

    The protocol has no place for instructions: they go before the first prompt of a session.
    """
    blocks = [] if not instructions else [_text(instructions)]
    return blocks + [_block(one) for one in inputs]


def _block(one: PromptInput) -> Block:
    match one:
        case TextInput():
            return _text(one.text)
        case ImageInput():
            return _image(one.url)
        case LocalImageInput():
            return _link(one.path, None, None, None)
        case LocalFileInput():
            if not one.path.startswith("/"):
                return _text(file_note(one))
            return _link(one.path, one.name, one.mime_type, one.size_bytes)


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _image(url: str) -> Block:
    head, comma, data = url.partition(",")
    if comma and head.startswith("data:") and head.endswith(";base64"):
        mime = head.removeprefix("data:").removesuffix(";base64").partition(";")[0]
        return {"type": "image", "data": data, "mimeType": mime or "application/octet-stream"}
    return {"type": "resource_link", "uri": url, "name": PurePath(url).name or url}


def _link(path: str, name: str | None, mime: str | None, size: int | None) -> Block:
    block: Block = {
        "type": "resource_link",
        "uri": PurePath(path).as_uri() if path.startswith("/") else path,
        "name": name or PurePath(path).name,
    }
    if mime:
        block["mimeType"] = mime
    if size is not None:
        block["size"] = size
    return block
