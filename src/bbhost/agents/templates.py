"""Filling in the command line of an agent. Pure; nothing is ever given to a shell."""

import re
from collections.abc import Mapping, Sequence

from attrs import evolve

from bbhost.agents.models import chosen_model
from bbhost.agents.provider import AgentPlace, ThreadSettings

_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")


def fill(words: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Replace each ``{name}`` of which there is a value; others stay as they are."""
    return [_PLACEHOLDER.sub(lambda m: values.get(m[1], m[0]), word) for word in words]


def fill_argv(
    argv: Sequence[str], model_argv: Sequence[str], settings: ThreadSettings, place: AgentPlace
) -> list[str]:
    """The command line of an agent that stays for a whole conversation."""
    model = chosen_model(settings.options.model)
    words = [*argv, *(model_argv if model else ())]
    return fill(words, {"model": model or "", "workspace": str(place.workspace)})


def with_shell_variables(place: AgentPlace, settings: ThreadSettings) -> AgentPlace:
    """For agents that cannot be told what their shells get: it goes into their own environment."""
    return evolve(place, environ={**place.environ, **settings.shell_variables})
