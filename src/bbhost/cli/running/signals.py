"""Being asked to stop."""

import signal

import trio


async def cancel_on_signal(
    scope: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Cancel ``scope`` at SIGINT, SIGTERM or SIGHUP. From ``started`` on none is lost."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        async for number in signals:
            scope.cancel(reason=f"received {signal.Signals(number).name}")
