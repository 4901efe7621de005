"""The models of providers that cannot be asked. Pure."""

from collections.abc import Sequence

from bbhost.agents.provider import ModelList
from bbhost.contract.execution import AvailableModel, ReasoningEffort, ReasoningLevel

DEFAULT_MODEL = "default"
"""Stands for whatever the agent would use by itself."""


def configured_models(names: Sequence[str]) -> ModelList:
    """A list of models by name, the first of them the default; without names, just ``default``."""
    models = tuple(names) or (DEFAULT_MODEL,)
    return ModelList(tuple(_model(name, is_default=name == models[0]) for name in models))


def chosen_model(model: str) -> str | None:
    """The model to tell an agent; None where it is to use its own."""
    return None if model in {"", DEFAULT_MODEL} else model


def _model(name: str, *, is_default: bool) -> AvailableModel:
    shown = "Default" if name == DEFAULT_MODEL else name
    return AvailableModel(
        id=name,
        model=name,
        display_name=shown,
        description="The agent's own choice" if name == DEFAULT_MODEL else "",
        supported_reasoning_efforts=(ReasoningEffort(ReasoningLevel.MEDIUM, "Default"),),
        default_reasoning_effort=ReasoningLevel.MEDIUM,
        is_default=is_default,
    )
