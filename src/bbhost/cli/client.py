"""The one client of the hub's public API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar
from urllib.parse import quote

import httpx

from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.cli.place import Server
from bbhost.contract.codec import structure, unstructure

T = TypeVar("T")

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 120.0
"""Longer than any request that waits for a daemon; a hub that hangs is given up then."""

_OUTCOMES = {
    404: Outcome.NOT_FOUND,
    408: Outcome.TIMEOUT,
    500: Outcome.FAILED,
    502: Outcome.REFUSED,
    503: Outcome.UNAVAILABLE,
    504: Outcome.TIMEOUT,
}


class HubClient:
    """Asks the hub; every answer is a value of ``bbhost.hub.api`` or of the contract.

    All methods raise :class:`CommandError`, whose outcome says whether the hub did not answer,
    refused, did not know, or could not reach its daemon.
    """

    def __init__(self, server: Server, http: httpx.AsyncClient) -> None:
        self.server = server
        self._http = http

    async def get(self, cls: type[T], path: str, /, **query: object) -> T:
        """Ask for a value. Parameters that are None are left out."""
        return structure(cls, await self._ask("GET", path, query=query))

    async def post(self, cls: type[T], path: str, body: object = None) -> T:
        """Post a value, or an empty object."""
        data = {} if body is None else unstructure(body)
        return structure(cls, await self._ask("POST", path, body=data))

    async def delete(self, cls: type[T], path: str) -> T:
        """Delete what is there."""
        return structure(cls, await self._ask("DELETE", path))

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, object] | None = None,
        body: object = None,
    ) -> object:
        given = {
            _camel(key): _text(value) for key, value in (query or {}).items() if value is not None
        }
        try:
            response = await self._http.request(method, path, params=given, json=body)
        except httpx.ConnectError as error:
            raise CommandError(
                Outcome.UNREACHABLE,
                f"No hub answers at {self.server.url}; is 'bbhost up' running?",
            ) from error
        except httpx.TimeoutException as error:
            raise CommandError(
                Outcome.TIMEOUT, f"The hub at {self.server.url} did not answer in time"
            ) from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise CommandError(
                Outcome.CONFIGURATION, f"{self.server.url!r} is not the URL of a hub: {error}"
            ) from error
        except httpx.HTTPError as error:
            raise CommandError(
                Outcome.UNREACHABLE, f"The hub at {self.server.url} failed to answer: {error}"
            ) from error
        return _value(response)


@asynccontextmanager
async def open_client(server: Server) -> AsyncIterator[HubClient]:
    """Hold a client of a hub. Nothing is sent before the first question."""
    headers = {"authorization": f"Bearer {server.token}"} if server.token else {}
    timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
    # The hub is on this machine or named on purpose: a proxy of the environment is not for it.
    # Reading the certificates of the machine takes longer than the whole question, and only https has them.
    async with httpx.AsyncClient(
        base_url=f"{server.url}/api/v1",
        headers=headers,
        timeout=timeout,
        trust_env=False,
        verify=server.url.lower().startswith("https:"),
    ) as http:
        yield HubClient(server, http)


def segment(text: str) -> str:
    """Return ``text`` as one segment of a path, whatever is in it."""
    return quote(text, safe="")


def _value(response: httpx.Response) -> object:
    try:
        data = response.json()
    except ValueError as error:
        raise CommandError(
            Outcome.FAILED,
            f"{response.url} answered {response.status_code} with something that is not JSON; "
            "is that a bbhost hub?",
        ) from error
    if response.is_success:
        return data
    raise refusal(response.status_code, data)


def refusal(status: int, data: object) -> CommandError:
    """Return how a command ends that the hub refuses: with a status, and a document that says why."""
    described = data if isinstance(data, dict) else {}
    message = described.get("message") or f"The hub answered {status}"
    code = described.get("code") or "failed"
    if status == 401:
        message = (
            "The hub does not accept the token; name its file with --token-file, "
            "or set BBHOST_TOKEN"
        )
    return CommandError(_OUTCOMES.get(status, Outcome.REFUSED), str(message), code=str(code))


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
