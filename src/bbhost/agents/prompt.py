"""What a user gave, as plain text, for agents that take nothing else. Pure."""

from collections.abc import Sequence

from bbhost.contract.execution import (
    ImageInput,
    LocalFileInput,
    LocalImageInput,
    PromptInput,
    TextInput,
)


def prompt_text(inputs: Sequence[PromptInput]) -> str:
    """All of it as one text; files and images are named."""
    return "\n\n".join(_part(one) for one in inputs)


def file_note(one: LocalFileInput) -> str:
    """How a file is named to an agent that can read it itself."""
    name = f" ({one.name})" if one.name and not one.path.endswith(one.name) else ""
    return f"Attached file{name}: {one.path}"


def _part(one: PromptInput) -> str:
    match one:
        case TextInput():
            return one.text
        case ImageInput():
            # A data URL is the image itself; as text it would only fill the agent's context.
            return (
                "Attached image (inline)" if one.url.startswith("data:") else f"Image: {one.url}"
            )
        case LocalImageInput():
            return f"Attached image: {one.path}"
        case LocalFileInput():
            return file_note(one)
