"""The agents that are known without configuration. Data.

Whether one is there is looked up, never assumed; nothing is started for that. Agents that need an
adapter name the adapter's own program: fetching one from a registry is left to the user. An agent
that cannot start without a file of the user's (cagent) is left to the configuration.
"""

from collections.abc import Mapping
from enum import StrEnum

from attrs import field, frozen

from bbhost.contract.execution import PermissionMode


class ProviderKind(StrEnum):
    """How an agent is spoken to."""

    ACP = "acp"
    CODEX = "codex"
    COMMAND = "command"


ALL_MODES = (PermissionMode.FULL, PermissionMode.WORKSPACE_WRITE, PermissionMode.READONLY)


@frozen
class ProviderDefinition:
    """One provider as built in or configured."""

    id: str
    display_name: str
    kind: ProviderKind
    argv: tuple[str, ...]
    earlier_names: tuple[str, ...] = ()
    """Names that its program had before, taken where that of ``argv`` is not there."""
    resume_argv: tuple[str, ...] = ()
    model_argv: tuple[str, ...] = ()
    prompt_on_stdin: bool = False
    models: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(factory=dict, repr=False)
    """Added to its environment; may hold credentials, so it is never shown."""
    initialize_seconds: float | None = None
    identity_seconds: float | None = None

    @property
    def modes(self) -> tuple[PermissionMode, ...]:
        """Permission modes: a plain command never asks, so it has only the one."""
        return (PermissionMode.FULL,) if self.kind is ProviderKind.COMMAND else ALL_MODES


def _acp(
    id_: str,
    display_name: str,
    *argv: str,
    model_argv: tuple[str, ...] = (),
    earlier_names: tuple[str, ...] = (),
) -> ProviderDefinition:
    return ProviderDefinition(
        id_,
        display_name,
        ProviderKind.ACP,
        argv,
        model_argv=model_argv,
        earlier_names=earlier_names,
    )


_MODEL = ("--model", "{model}")

BUILT_IN: tuple[ProviderDefinition, ...] = (
    ProviderDefinition("codex", "Codex", ProviderKind.CODEX, ("codex", "app-server")),
    _acp("claude-code", "Claude Code", "claude-agent-acp", earlier_names=("claude-code-acp",)),
    _acp("pi", "Pi", "pi-acp"),
    _acp("gemini", "Gemini CLI", "gemini", "--acp", model_argv=_MODEL),
    _acp("goose", "Goose", "goose", "acp"),
    _acp("opencode", "OpenCode", "opencode", "acp"),
    _acp("qwen", "Qwen Code", "qwen", "--acp", model_argv=_MODEL),
    _acp("copilot", "GitHub Copilot CLI", "copilot", "--acp"),
    _acp("vibe", "Mistral Vibe", "vibe-acp"),
    _acp("kimi", "Kimi CLI", "kimi", "acp"),
    _acp("auggie", "Auggie CLI", "auggie", "--acp"),
    ProviderDefinition(
        "claude-print",
        "Claude Code, one run per turn",
        ProviderKind.COMMAND,
        ("claude", "-p", "--session-id", "{session}"),
        resume_argv=("claude", "-p", "--resume", "{session}"),
        model_argv=_MODEL,
        prompt_on_stdin=True,
    ),
    ProviderDefinition(
        "codex-exec",
        "Codex, one run per turn",
        ProviderKind.COMMAND,
        ("codex", "exec", "-"),
        model_argv=_MODEL,
        prompt_on_stdin=True,
    ),
    ProviderDefinition(
        "aider",
        "Aider, one run per turn",
        ProviderKind.COMMAND,
        ("aider", "--yes-always", "--no-pretty", "--message", "{prompt}"),
        model_argv=_MODEL,
    ),
)
