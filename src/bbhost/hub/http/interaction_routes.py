"""Public operations on questions of agents."""

from attrs import frozen

from bbhost.contract.fields import NonEmpty
from bbhost.contract.wire import absent
from bbhost.hub.api.threads import Interaction, InteractionList, ResolveInteraction
from bbhost.hub.http.operations import ACCEPTED, Call, Operation
from bbhost.hub.services.interactions import Interactions

INTERACTIONS = "/api/v1/interactions"


@frozen
class InteractionsQuery:
    """Which questions; ``open`` leaves out those that are answered or fell away."""

    thread_id: NonEmpty | None = absent()
    open: bool | None = absent()


def interaction_operations(interactions: Interactions) -> tuple[Operation, ...]:
    """Return the operations on questions."""

    async def list_all(call: Call) -> object:
        query: InteractionsQuery = call.query
        return await interactions.list(query.thread_id, open_only=bool(query.open))

    async def resolve(call: Call) -> object:
        return await interactions.resolve(call.path["interaction_id"], call.body.resolution)

    return (
        Operation(
            "GET", INTERACTIONS, "listInteractions", "List questions of agents", list_all,
            InteractionList, query=InteractionsQuery, errors=(404,),
        ),
        Operation(
            "POST", f"{INTERACTIONS}/{{interaction_id}}/resolve", "resolveInteraction",
            "Answer a question", resolve, Interaction, status=ACCEPTED, body=ResolveInteraction,
            errors=(409,),
        ),
    )  # fmt: skip
