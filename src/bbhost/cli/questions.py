"""Questions of agents: what they ask, and what an answer looks like on the wire."""

from typing import Any

from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.contract.codec import structure, unstructure
from bbhost.contract.interactions import (
    Allowed,
    Answer,
    Approval,
    Denied,
    InteractionPayload,
    UserAnswer,
    UserQuestion,
)
from bbhost.hub.api.threads import Interaction


def describe(interaction: Interaction) -> str:
    """Say in a line what is asked."""
    payload: Any = structure(InteractionPayload, interaction.payload)
    if isinstance(payload, UserQuestion):
        return "; ".join(_question(one) for one in payload.questions)
    subject = unstructure(payload.subject)
    about = subject.get("command") or subject.get("writeScope") or subject.get("toolName") or ""
    reason = f" ({payload.reason})" if payload.reason else ""
    return f"{subject['kind']} {about}{reason}"


def wants_decision(interaction: Interaction) -> bool:
    """Whether it asks for permission; otherwise for an answer in words."""
    payload: Any = structure(InteractionPayload, interaction.payload)
    return not isinstance(payload, UserQuestion)


def choose_resolution(
    interaction: Interaction, *, deny: bool, for_session: bool, answer: str | None
) -> object:
    """Return the answer to a question in the wire's form.

    Raises:
        CommandError: the question wants another kind of answer, or does not offer this one.
    """
    payload: Any = structure(InteractionPayload, interaction.payload)
    if isinstance(payload, UserQuestion):
        return unstructure(_answer(payload, answer))
    decision = "deny" if deny else "allow_for_session" if for_session else "allow_once"
    if answer is not None:
        raise CommandError(Outcome.REFUSED, "This asks for a decision, not for an answer")
    if decision not in payload.available_decisions:
        offered = ", ".join(payload.available_decisions)
        raise CommandError(Outcome.REFUSED, f"{decision} is not offered; offered are {offered}")
    return unstructure(Denied() if deny else Allowed(decision, _granted(payload)))  # type: ignore[arg-type] # not "deny" here


def _granted(payload: Approval) -> Any:  # noqa: ANN401 - a grant or None
    return getattr(payload.subject, "permissions", None)


def _answer(payload: UserQuestion, answer: str | None) -> UserAnswer:
    if answer is None or len(payload.questions) != 1:
        asked = "; ".join(_question(one) for one in payload.questions)
        raise CommandError(Outcome.REFUSED, f"Answer one question with --answer: {asked}")
    question = payload.questions[0]
    values = {option.value for option in question.options or ()}
    if answer in values:
        return UserAnswer({question.id: Answer((answer,))})
    if not question.allow_free_text:
        raise CommandError(Outcome.REFUSED, f"Choose one of {', '.join(sorted(values))}")
    return UserAnswer({question.id: Answer((), answer)})


def _question(question: Any) -> str:  # noqa: ANN401 - a Question
    options = ", ".join(option.value for option in question.options or ())
    return f"{question.prompt} [{options}]" if options else str(question.prompt)
