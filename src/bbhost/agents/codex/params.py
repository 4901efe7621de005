"""Parameters of requests to the app-server. Pure."""

from collections.abc import Sequence
from typing import Any

from bbhost.agents.models import chosen_model
from bbhost.agents.prompt import file_note
from bbhost.agents.provider import ThreadSettings, TurnRequest
from bbhost.contract.execution import (
    ExecutionOptions,
    ImageInput,
    InstructionMode,
    LocalFileInput,
    LocalImageInput,
    PermissionEscalation,
    PermissionMode,
    PromptInput,
    ReasoningLevel,
    ServiceTier,
    TextInput,
)

Params = dict[str, Any]
_SANDBOXES = {
    PermissionMode.FULL: "danger-full-access",
    PermissionMode.WORKSPACE_WRITE: "workspace-write",
    PermissionMode.READONLY: "read-only",
}

INITIALIZE: Params = {
    "clientInfo": {"name": "bbhost", "title": "bbhost", "version": "1"},
    "capabilities": {"experimentalApi": True},
}


def thread_params(settings: ThreadSettings, workspace: str) -> Params:
    """Parameters of ``thread/start``; those of ``thread/resume`` where one is to be resumed."""
    options = settings.options
    replaces = settings.instruction_mode is InstructionMode.REPLACE
    params: Params = {
        "approvalPolicy": approval_policy(options),
        "sandbox": _SANDBOXES[options.permission_mode],
        "cwd": workspace,
        "baseInstructions" if replaces else "developerInstructions": settings.instructions,
        "model": chosen_model(options.model),
        "config": _config(settings),
        "experimentalRawEvents": False,
        "persistExtendedHistory": False,
    }
    if options.service_tier is ServiceTier.FAST:
        params["serviceTier"] = "fast"
    if settings.dynamic_tools:
        params["dynamicTools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "inputSchema": tool.input_schema,
            }
            for tool in settings.dynamic_tools
        ]
    if settings.resume is not None:
        params["threadId"] = settings.resume
    return params


def _config(settings: ThreadSettings) -> Params:
    config: Params = {
        f"shell_environment_policy.set.{name}": value
        for name, value in settings.shell_variables.items()
    }
    config["model_reasoning_effort"] = effort(settings.options)
    if settings.options.permission_mode is PermissionMode.WORKSPACE_WRITE:
        config["sandbox_workspace_write.writable_roots"] = list(settings.writable_roots)
    return config


def turn_params(request: TurnRequest, provider_thread_id: str, roots: Sequence[str]) -> Params:
    """Parameters of ``turn/start``."""
    options = request.options
    params: Params = {
        "threadId": provider_thread_id,
        "input": input_elements(request.input),
        "approvalPolicy": approval_policy(options),
        "sandboxPolicy": sandbox_policy(options, roots),
        "model": chosen_model(options.model),
        "effort": effort(options),
    }
    if options.service_tier is ServiceTier.FAST:
        params["serviceTier"] = "fast"
    return params


def approval_policy(options: ExecutionOptions) -> str:
    """When it asks."""
    asks = options.permission_escalation is PermissionEscalation.ASK
    return "on-request" if asks else "never"


def sandbox_policy(options: ExecutionOptions, roots: Sequence[str]) -> Params:
    """What its commands may do without asking."""
    match options.permission_mode:
        case PermissionMode.FULL:
            return {"type": "dangerFullAccess"}
        case PermissionMode.READONLY:
            return {"type": "readOnly"}
        case PermissionMode.WORKSPACE_WRITE:
            return {"type": "workspaceWrite", "writableRoots": list(roots), "networkAccess": False}


def effort(options: ExecutionOptions) -> str:
    """How long it may think; it knows nothing above ``xhigh``."""
    level = options.reasoning_level
    return str(ReasoningLevel.XHIGH if level is ReasoningLevel.MAX else level)


def input_elements(inputs: Sequence[PromptInput]) -> list[Params]:
    """A user's request."""
    return [_element(one) for one in inputs]


def _element(one: PromptInput) -> Params:
    match one:
        case TextInput():
            return _text(one.text)
        case ImageInput():
            return {"type": "image", "url": one.url}
        case LocalImageInput():
            return {"type": "localImage", "path": one.path}
        case LocalFileInput():
            return _text(file_note(one))


def _text(text: str) -> Params:
    return {"type": "text", "text": text, "text_elements": []}
