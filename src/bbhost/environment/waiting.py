"""Waiting for what an owner comes to, by level: no state can be missed, no crashed owner waited for.

Cancellation of any of these: only the waiting ends; the owner goes on.
"""

from collections.abc import Callable

import trio

from bbhost.domain.environment import EnvironmentRecord, EnvironmentState
from bbhost.domain.ids import EnvironmentId
from bbhost.environment.actor import EnvironmentActor, EnvironmentView, Provisioned
from bbhost.environment.ports import EntrySink
from bbhost.errors import BbhostError, EnvironmentBusyError, EnvironmentDestroyedError


async def wait_provisioned(actor: EnvironmentActor, on_entry: EntrySink | None) -> Provisioned:
    """Wait until it is ready, passing on what its making has to say from the beginning.

    Raises:
        BbhostError: why it was not made; or it was destroyed meanwhile.
    """
    if on_entry is not None:
        for entry in actor.progress.entries:
            on_entry(entry)
        actor.progress.listeners.append(on_entry)
    try:
        view = await wait_view(
            actor,
            lambda view: (
                view.provisioned is not None
                or view.state in {EnvironmentState.READY, EnvironmentState.TOMBSTONED}
                or view.teardown_trouble is not None
            ),
        )
    finally:
        if on_entry is not None:
            actor.progress.listeners.remove(on_entry)
    if view.provisioned is not None and view.state is EnvironmentState.READY:
        return view.provisioned
    if view.provision_error is not None:
        raise view.provision_error
    raise EnvironmentDestroyedError(
        f"Environment {view.record.environment_id} was destroyed while it was provisioned"
    )


async def wait_left(actor: EnvironmentActor) -> None:
    """Wait until a teardown has ended, either way; raise what keeps it from ending."""
    view = await wait_view(
        actor,
        lambda view: (
            view.state is not EnvironmentState.DESTROYING or view.teardown_trouble is not None
        ),
    )
    await trio.lowlevel.checkpoint()
    if view.state is EnvironmentState.DESTROYING and view.teardown_trouble is not None:
        raise view.teardown_trouble


async def wait_torn_down(actor: EnvironmentActor) -> EnvironmentRecord:
    """Wait for the tombstone, but not for ever: a teardown may fail, or go on failing.

    Returns:
        The tombstone.

    Raises:
        BbhostError: why it failed.
    """
    view = await wait_view(
        actor,
        lambda view: (
            view.state in {EnvironmentState.TOMBSTONED, EnvironmentState.READY}
            or view.teardown_trouble is not None
        ),
    )
    if view.state is not EnvironmentState.TOMBSTONED:
        raise view.teardown_trouble or BbhostError(
            f"Environment {view.record.environment_id} could not be destroyed"
        )
    return view.record


async def wait_view(
    actor: EnvironmentActor, condition: Callable[[EnvironmentView], bool]
) -> EnvironmentView:
    """Wait until ``condition`` holds.

    Raises:
        EnvironmentBusyError: the owner crashed first.
    """
    view = await actor.view.wait_value(lambda view: view.is_abandoned or condition(view))
    if not condition(view):
        raise recovers(view.record.environment_id)
    return view


def recovers(environment_id: EnvironmentId) -> EnvironmentBusyError:
    """The refusal while a crashed owner has not been started again."""
    return EnvironmentBusyError(
        f"Environment {environment_id} recovers from an internal error; try again later"
    )
