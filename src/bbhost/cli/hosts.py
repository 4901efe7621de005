"""Hosts of a hub, as the command line needs them."""

from contextlib import aclosing

from bbhost.cli.client import HubClient, segment
from bbhost.cli.sockets import messages, open_socket
from bbhost.hub.api.hosts import Host, HostStatus


async def wait_host_connected(client: HubClient, host_id: str) -> Host:
    """Wait until the daemon of a host is connected.

    Raises:
        CommandError: the hub has gone, or does not know the host.
    """
    while True:
        # The socket first: a change after the question is then never missed.
        async with open_socket(client.server, "/ws") as socket, aclosing(messages(socket)) as told:
            async for message in told:
                if '"host' in message or '"hello"' in message:
                    host = await client.get(Host, f"/hosts/{segment(host_id)}")
                    if host.status is HostStatus.CONNECTED:
                        return host
