"""Asking the daemon of a data directory over its control socket."""

from collections.abc import Mapping
from typing import Any

import httpx
import trio

from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.daemon.config import Config
from bbhost.daemon.local.socket_path import control_socket_path

ANSWER_SECONDS = 5.0
"""A daemon that does not answer by then counts as stalled."""


async def ask_daemon(
    config: Config,
    method: str,
    path: str,
    *,
    seconds: float = ANSWER_SECONDS,
    body: Mapping[str, Any] | None = None,
) -> Any:  # noqa: ANN401 - the answer's JSON
    """Ask one thing.

    Raises:
        CommandError: unreachable: no daemon runs; timeout: it does not answer in time.
    """
    socket = control_socket_path(config)
    # Nothing on this socket is encrypted, so the certificates of the machine are not read.
    transport = httpx.AsyncHTTPTransport(uds=str(socket), verify=False)
    try:
        with trio.fail_after(seconds):
            async with httpx.AsyncClient(
                transport=transport, base_url="http://bbhost", timeout=seconds
            ) as client:
                response = await client.request(method, path, json=body)
    except (trio.TooSlowError, httpx.TimeoutException) as error:
        raise CommandError(
            Outcome.TIMEOUT,
            f"The daemon of {config.data_dir} did not answer within {seconds:g} s: it is stalled or "
            "the machine is overloaded",
        ) from error
    except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.NetworkError) as error:
        raise CommandError(
            Outcome.UNREACHABLE, f"No daemon runs on {config.data_dir} ({socket} does not answer)"
        ) from error
    if not response.is_success:
        outcome = Outcome.NOT_FOUND if response.status_code == 404 else Outcome.REFUSED
        raise CommandError(outcome, str(response.json().get("message", "refused")))
    return response.json()
