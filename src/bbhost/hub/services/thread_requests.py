"""What a request about a thread becomes on the wire. Pure."""

import json

from bbhost.contract.codec import encode_json, structure, unstructure
from bbhost.contract.execution import (
    DynamicTool,
    ExecutionOptions,
    InstructionMode,
    PromptInput,
    PromptInputs,
    ResumeContext,
    StartTarget,
    SteerTarget,
    TextInput,
    ThreadContext,
    TurnTarget,
)
from bbhost.domain.workspace import WorkspaceContext
from bbhost.hub.api.threads import ExecutionChoice, StartThread, SubmitTurn
from bbhost.hub.errors import invalid_request
from bbhost.hub.storage.threads import ThreadRow

DEFAULT_PROJECT = "default"
DEFAULT_INSTRUCTIONS = (
    "Work in the given directory only. Use the message_user tool when the user has to know"
    " something before the turn ends."
)
MESSAGE_USER = DynamicTool(
    "message_user",
    "Send a short message to the user while the turn goes on.",
    {
        "type": "object",
        "properties": {"text": {"type": "string", "minLength": 1}},
        "required": ["text"],
    },
)
_DEFAULT_EXECUTION = {
    "model": "default",
    "serviceTier": "default",
    "reasoningLevel": "medium",
    "permissionMode": "workspace-write",
    "permissionEscalation": "ask",
}


def plan_input(request: StartThread | SubmitTurn) -> tuple[PromptInput, ...]:
    """Return the prompt elements of a request.

    Raises:
        ApiError: 400, neither or both of ``prompt`` and ``input`` are given.
        WireError: an element is none of the contract's.
    """
    if (request.prompt is None) == (request.input is None):
        raise invalid_request("Give either prompt or input")
    if request.prompt is not None:
        return (TextInput(request.prompt),)
    elements: tuple[PromptInput, ...] = structure(PromptInputs, list(request.input or ()))
    return elements


def plan_execution(choice: ExecutionChoice | None, former: str | None) -> ExecutionOptions:
    """Return the options of a turn: what is chosen, else what the turn before had.

    Raises:
        WireError: the choices do not go together.
    """
    data: dict[str, object] = dict(_DEFAULT_EXECUTION)
    if former is not None:
        data = json.loads(former)
    chosen: dict[str, object] = unstructure(choice) if choice is not None else {}
    data.update(chosen)
    if data["permissionMode"] == "full":
        data["permissionEscalation"] = chosen.get("permissionEscalation")
    elif data["permissionEscalation"] is None:
        data["permissionEscalation"] = "ask"
    return structure(ExecutionOptions, data)


def plan_context(request: StartThread, workspace: WorkspaceContext) -> ThreadContext:
    """Return what does not change from turn to turn."""
    return ThreadContext(
        workspace_context=workspace,
        project_id=request.project_id or DEFAULT_PROJECT,
        provider_id=request.provider_id,
        instructions=request.instructions or DEFAULT_INSTRUCTIONS,
        dynamic_tools=(MESSAGE_USER,),
        instruction_mode=InstructionMode.APPEND,
    )


def resume_context(row: ThreadRow, provider_thread_id: str) -> ResumeContext:
    """Return how a later turn names its thread."""
    data = {**json.loads(row.context), "providerThreadId": provider_thread_id}
    return structure(ResumeContext, data)


def plan_target(request: SubmitTurn, active_turn_id: str | None) -> TurnTarget:
    """Return which turn a request is about."""
    mode = request.mode or "auto"
    if mode == "start":
        return StartTarget()
    return SteerTarget(mode, request.expected_turn_id or active_turn_id)


def dump_inputs(inputs: tuple[PromptInput, ...]) -> list[object]:
    """Return prompt elements as JSON values."""
    return [json.loads(encode_json(one)) for one in inputs]
