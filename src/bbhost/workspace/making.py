"""What the makers of workspaces share."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import trio

BeforeCreating: TypeAlias = Callable[[], Awaitable[None]]
"""Awaited when it is certain that a workspace will be made and before anything of it is: the time to
write down that a rollback may remove it."""


async def nothing_before() -> None:
    """Note nothing."""
    await trio.lowlevel.checkpoint()
