"""The list of models. Pure."""

from bbhost.agents.provider import ModelList
from bbhost.agents.raw import Json, as_list, as_map, as_text
from bbhost.contract.execution import AvailableModel, ReasoningEffort, ReasoningLevel

_LEVELS = {str(level): level for level in ReasoningLevel}


def models_of(result: Json) -> ModelList:
    """Translate the result of ``model/list``; efforts that the contract has no word for are left out."""
    models = [_model(as_map(raw)) for raw in as_list(result.get("data"))]
    return ModelList(tuple(one for one in models if one is not None))


def _model(raw: Json) -> AvailableModel | None:
    model = as_text(raw.get("model")) or as_text(raw.get("id"))
    if not model or raw.get("hidden") is True:
        return None
    efforts = tuple(
        ReasoningEffort(_LEVELS[name], as_text(one.get("description")))
        for one in map(as_map, as_list(raw.get("supportedReasoningEfforts")))
        if (name := as_text(one.get("reasoningEffort"))) in _LEVELS
    )
    default = _LEVELS.get(as_text(raw.get("defaultReasoningEffort")), ReasoningLevel.MEDIUM)
    return AvailableModel(
        id=as_text(raw.get("id")) or model,
        model=model,
        display_name=as_text(raw.get("displayName")) or model,
        description=as_text(raw.get("description")),
        supported_reasoning_efforts=efforts or (ReasoningEffort(default, ""),),
        default_reasoning_effort=default,
        is_default=raw.get("isDefault") is True,
    )
