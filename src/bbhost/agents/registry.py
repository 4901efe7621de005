"""Which providers there are: the built-in ones, changed and added to by ``[providers.<id>]`` tables.

A table of a known id changes the entry of that id; any other id needs ``kind`` and ``argv``.
``enabled = false`` takes an entry away.
"""

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve

from bbhost.agents.definitions import BUILT_IN, ProviderDefinition, ProviderKind
from bbhost.agents.provider import Provider
from bbhost.contract.execution import ProviderCapabilities, ProviderInfo
from bbhost.errors import ConfigError, MissingExecutableError, UnknownProviderError

_TEXTS = frozenset({"display_name"})
_LISTS = frozenset({"argv", "resume_argv", "model_argv", "models"})
_FLAGS = frozenset({"prompt_on_stdin", "enabled"})
_SECONDS = frozenset({"initialize_seconds", "identity_seconds"})
KEYS = _TEXTS | _LISTS | _FLAGS | _SECONDS | {"kind", "environ"}
"""Keys of a ``[providers.<id>]`` table."""


class ProviderRegistry:
    """The providers of this host, in the order in which they are shown."""

    def __init__(self, definitions: Sequence[ProviderDefinition]) -> None:
        self._definitions = {one.id: one for one in definitions}

    def definitions(self) -> list[ProviderDefinition]:
        """All of them."""
        return list(self._definitions.values())

    def definition(self, provider_id: str) -> ProviderDefinition:
        """One of them.

        Raises:
            UnknownProviderError: there is none of this id.
        """
        found = self._definitions.get(provider_id)
        if found is None:
            raise UnknownProviderError(f"Unknown provider: {provider_id[:80]!r}")
        return found

    def installed(
        self, definition: ProviderDefinition, path: str | None
    ) -> ProviderDefinition | None:
        """``definition`` with the name that its program has on ``path`` (a PATH). Blocking.

        None where it has no program there.
        """
        where = definition.environ.get("PATH", path)
        for name in (definition.argv[0], *definition.earlier_names):
            if shutil.which(name, path=where) is not None:
                return evolve(definition, argv=(name, *definition.argv[1:]))
        return None

    def require_installed(
        self, definition: ProviderDefinition, path: str | None
    ) -> ProviderDefinition:
        """As :meth:`installed`.

        Raises:
            MissingExecutableError: it is not there.
        """
        found = self.installed(definition, path)
        if found is None:
            raise MissingExecutableError(
                f"{definition.display_name} is not installed: {definition.argv[0]!r} is not on PATH"
            )
        return found

    def supports_archive(self, definition: ProviderDefinition) -> bool:
        """Whether conversations can be archived there."""
        return _capabilities(definition).supports_archive

    def infos(self, path: str | None) -> tuple[ProviderInfo, ...]:
        """What is told of each, availability included. Blocking: looks at PATH."""
        return tuple(
            ProviderInfo(
                one.id,
                one.display_name,
                _capabilities(one),
                self.installed(one, path) is not None,
            )
            for one in self._definitions.values()
        )

    def provider(self, definition: ProviderDefinition) -> Provider:
        """What starts agents of this definition."""
        match definition.kind:
            case ProviderKind.CODEX:
                return _codex_provider(definition)
            case ProviderKind.ACP:
                return _acp_provider(definition)
            case ProviderKind.COMMAND:
                return _command_provider(definition)


def make_registry(tables: Mapping[str, Mapping[str, Any]]) -> ProviderRegistry:
    """Merge the built-in providers with those of the configuration.

    Args:
        tables: the ``[providers.<id>]`` tables by id.

    Raises:
        ConfigError: a table is wrong; the message names the table and the key.
    """
    definitions = {one.id: one for one in BUILT_IN}
    for provider_id, table in tables.items():
        if not isinstance(table, Mapping):
            raise ConfigError(f"providers.{provider_id} must be a table")
        _check(provider_id, table)
        if table.get("enabled") is False:
            definitions.pop(provider_id, None)
            continue
        definitions[provider_id] = _merge(provider_id, table, definitions.get(provider_id))
    return ProviderRegistry(list(definitions.values()))


def _merge(
    provider_id: str, table: Mapping[str, Any], known: ProviderDefinition | None
) -> ProviderDefinition:
    if known is None:
        if "kind" not in table or "argv" not in table:
            raise ConfigError(f"providers.{provider_id}: a new provider needs kind and argv")
        known = ProviderDefinition(
            provider_id, provider_id, ProviderKind(table["kind"]), tuple(table["argv"])
        )
    # Other names are those of the program that the built-in command line names.
    changes: dict[str, Any] = {"earlier_names": ()} if "argv" in table else {}
    for key, value in table.items():
        if key in _LISTS:
            changes[key] = tuple(value)
        elif key == "kind":
            changes[key] = ProviderKind(value)
        elif key != "enabled":
            changes[key] = value
    return evolve(known, **changes)


def _check(provider_id: str, table: Mapping[str, Any]) -> None:
    for key, value in table.items():
        problem = _problem(key, value)
        if problem:
            raise ConfigError(f"providers.{provider_id}.{key} {problem}")


def _problem(key: str, value: object) -> str:
    if key not in KEYS:
        return f"is not known; known are {', '.join(sorted(KEYS))}"
    if key == "kind" and value not in set(ProviderKind):
        return f"must be one of {', '.join(ProviderKind)}"
    if key in _TEXTS and not (isinstance(value, str) and value):
        return "must be a text"
    if key in _LISTS and not _is_texts(value):
        return "must be a list of texts"
    if key == "argv" and not value:
        return "must not be empty"
    if key in _FLAGS and not isinstance(value, bool):
        return "must be true or false"
    if key in _SECONDS and not (isinstance(value, int | float) and value > 0):
        return "must be a number of seconds"
    if key == "environ" and not (isinstance(value, Mapping) and _is_texts(list(value.values()))):
        return "must be a table of texts"
    return ""


def _is_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)


def _capabilities(definition: ProviderDefinition) -> ProviderCapabilities:
    is_codex = definition.kind is ProviderKind.CODEX
    return ProviderCapabilities(
        supports_archive=is_codex,
        supports_rename=is_codex,
        supports_service_tier=is_codex,
        supports_user_question=False,
        supported_permission_modes=definition.modes,
    )


# What speaks with an agent is loaded with the first agent of its kind: many daemons run none, or
# those of one kind, and all of it is megabytes.


def _codex_provider(definition: ProviderDefinition) -> Provider:
    from bbhost.agents.codex.agent import CodexDeadlines
    from bbhost.agents.codex.provider import CodexProvider

    standard = CodexDeadlines()
    deadlines = CodexDeadlines(
        definition.initialize_seconds or standard.initialize_seconds,
        definition.identity_seconds or standard.identity_seconds,
    )
    return CodexProvider(definition.id, definition.argv, deadlines)


def _acp_provider(definition: ProviderDefinition) -> Provider:
    from bbhost.agents.acp.agent import AcpDeadlines
    from bbhost.agents.acp.provider import AcpProvider

    standard = AcpDeadlines()
    deadlines = AcpDeadlines(
        definition.initialize_seconds or standard.initialize_seconds,
        definition.identity_seconds or standard.session_seconds,
    )
    return AcpProvider(
        definition.id, definition.argv, definition.model_argv, definition.models, deadlines
    )


def _command_provider(definition: ProviderDefinition) -> Provider:
    from bbhost.agents.command import CommandProvider

    return CommandProvider(
        definition.id,
        definition.argv,
        definition.resume_argv,
        definition.model_argv,
        definition.prompt_on_stdin,
        definition.models,
    )
