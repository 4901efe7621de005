"""Operations about the hub itself: its health and its document."""

from collections.abc import Callable
from typing import Any

import trio

from bbhost.hub.api.hosts import Health
from bbhost.hub.http.operations import Call, Operation


def meta_operations(document: Callable[[], dict[str, Any]]) -> tuple[Operation, ...]:
    """Return the operations that need no service.

    Args:
        document: makes the OpenAPI document once all operations are known.
    """

    async def health(_call: Call) -> object:
        await trio.lowlevel.checkpoint()
        return Health()

    async def openapi(_call: Call) -> object:
        await trio.lowlevel.checkpoint()
        return document()

    return (
        Operation("GET", "/health", "getHealth", "Tell that the hub serves", health, Health),
        Operation("GET", "/api/v1/openapi.json", "getOpenApi", "This document", openapi, dict),
    )
