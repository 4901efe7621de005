"""The line between daemon and hub, so that it can be cut."""

import trio
from attrs import define, field

READ_BYTES = 65_536


@define(eq=False)
class Wire:
    """A TCP proxy that can be cut: every connection closed, every new one refused."""

    listener: trio.SocketListener
    target: int = 0
    """Port of the hub; set before the daemon starts."""
    is_cut: bool = False
    _connections: set[trio.CancelScope] = field(factory=set)

    @property
    def port(self) -> int:
        """Where the daemon connects to."""
        return int(self.listener.socket.getsockname()[1])

    def cut(self) -> int:
        """Close all connections and refuse new ones; return how many there were."""
        self.is_cut = True
        count = len(self._connections)
        for scope in self._connections:
            scope.cancel(reason="the wire is cut")
        return count

    def mend(self) -> None:
        """Let connections through again."""
        self.is_cut = False

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, self._connect, [self.listener])
            task_status.started()

    async def _connect(self, near: trio.SocketStream) -> None:
        async with near:
            if self.is_cut:
                return
            with trio.CancelScope() as scope:
                self._connections.add(scope)
                try:
                    far = await trio.open_tcp_stream("127.0.0.1", self.target)
                    async with far, trio.open_nursery() as pumps:
                        pumps.start_soon(_pump, near, far, pumps.cancel_scope)
                        pumps.start_soon(_pump, far, near, pumps.cancel_scope)
                except OSError:
                    return
                finally:
                    self._connections.discard(scope)


async def open_wire() -> Wire:
    """Listen on a free port of 127.0.0.1."""
    return Wire((await trio.open_tcp_listeners(0, host="127.0.0.1"))[0])


async def _pump(
    source: trio.SocketStream, sink: trio.SocketStream, both: trio.CancelScope
) -> None:
    try:
        async for data in source:
            await sink.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    both.cancel(reason="one side has closed")
