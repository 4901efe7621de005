"""Maintenance over the control socket: health, metrics, doctor, garbage collection, rescued work, reload.

What is rarely asked for is imported when it is asked for: it need not lie in the daemon's memory.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import trio
from attrs import field, frozen

from bbhost.daemon.assembly import Parts
from bbhost.daemon.local.http_server import Request, Response, error_response, json_response
from bbhost.errors import BbhostError
from bbhost.toolkit.single_flight import SingleFlight

if TYPE_CHECKING:
    from bbhost.daemon.rescues import RescueDesk

LONGEST_DEADLINE_SECONDS = 120.0
"""Most that a caller may allow one check of the doctor."""
Route = Callable[[Request], Awaitable[Response]]


class BadRequestError(Exception):
    """The request is not understood; the message says why."""


@frozen
class Maintenance:
    """Routes for those who look after the daemon."""

    parts: Parts
    _examinations: SingleFlight[dict[str, Any]] = field(factory=SingleFlight, init=False)
    """Those who ask while the doctor is looking get what he finds."""
    _collecting: trio.Lock = field(factory=trio.Lock, init=False)
    """One collection at a time; the next waits."""

    def routes(self) -> Mapping[tuple[str, str], Route]:
        """Return the handlers by method and path."""
        routes: dict[tuple[str, str], Route] = {
            ("GET", "/health"): self._health,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/doctor"): self._doctor,
            ("POST", "/gc"): self._gc,
            ("GET", "/rescues"): self._list_rescues,
            ("GET", "/rescues/show"): self._show_rescue,
            ("POST", "/rescues/restore"): self._restore_rescue,
            ("POST", "/rescues/drop"): self._drop_rescue,
            ("POST", "/reload"): self._reload,
        }
        return {key: _answering_errors(route) for key, route in routes.items()}

    async def _health(self, _request: Request) -> Response:
        from bbhost.daemon.health import HealthState, check_health

        report = await check_health(self.parts)
        stalled = report.state is HealthState.STALLED
        return json_response(report.to_json(), 503 if stalled else 200)

    async def _metrics(self, _request: Request) -> Response:
        from bbhost.daemon.metrics import metrics_response

        return metrics_response(self.parts)

    async def _doctor(self, request: Request) -> Response:
        from bbhost.daemon.doctor.doctor import DEADLINE_SECONDS, examine
        from bbhost.daemon.doctor.subject import Subject

        text = _query(request, "deadline")
        deadline = DEADLINE_SECONDS if text is None else _seconds(text)

        async def look() -> dict[str, Any]:
            subject = Subject(self.parts.config, self.parts.git, self.parts)
            return (await examine(subject, deadline_seconds=deadline)).to_json()

        return json_response(await self._examinations.run(deadline, look))

    async def _gc(self, request: Request) -> Response:
        from bbhost.daemon.collecting import GcRequest

        body = _object(request)
        dry_run = _typed(body, "dryRun", bool, True)
        unclear = _texts(body, "includeUnclear")
        async with self._collecting:
            report = await self.parts.collector().collect(GcRequest(dry_run, unclear))
        self.parts.emptier.wake()
        return json_response(report.to_json())

    async def _list_rescues(self, request: Request) -> Response:
        return json_response(await self._desk().listing(_place(_query(request, "repository"))))

    async def _show_rescue(self, request: Request) -> Response:
        name = _query(request, "name")
        if not name:
            raise BadRequestError("name is missing")
        place = _place(_query(request, "repository"))
        return json_response(await self._desk().show(name, place))

    async def _restore_rescue(self, request: Request) -> Response:
        body = _object(request)
        answer = await self._desk().restore(
            _typed(body, "name", str),
            Path(_typed(body, "target", str)),
            repository=_place(_typed(body, "repository", str, "")),
            overwrite=_typed(body, "overwrite", bool, False),
        )
        return json_response(answer)

    async def _drop_rescue(self, request: Request) -> Response:
        body = _object(request)
        place = _place(_typed(body, "repository", str, ""))
        return json_response(await self._desk().drop(_typed(body, "name", str), place))

    async def _reload(self, _request: Request) -> Response:
        from bbhost.daemon.reloading import reload_configuration

        report = await reload_configuration(self.parts)
        return json_response(report.to_json(), 400 if report.error else 200)

    def _desk(self) -> "RescueDesk":
        from bbhost.daemon.rescues import RescueDesk

        return RescueDesk(self.parts.tools, self.parts.supervisor.records)


def _answering_errors(route: Route) -> Route:
    """Turn what may be expected to go wrong into an answer."""

    async def answer(request: Request) -> Response:
        try:
            return await route(request)
        except BadRequestError as error:
            return error_response(400, "invalid_request", str(error))
        except BbhostError as error:
            status = 404 if error.code == "rescue_not_found" else 409
            return error_response(status, error.code, error.message)
        except OSError as error:
            return error_response(500, "io_error", str(error))

    return answer


def _object(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(request.body or b"{}")
    except (ValueError, RecursionError):
        raise BadRequestError("the body is not JSON") from None
    if not isinstance(body, dict):
        raise BadRequestError("the body is not a JSON object")
    return body


_MISSING: Any = object()


def _typed(body: dict[str, Any], name: str, kind: type, default: Any = _MISSING) -> Any:  # noqa: ANN401 - of ``kind``
    value = body.get(name, default)
    if value is _MISSING or not isinstance(value, kind):
        raise BadRequestError(f"{name} must be a {kind.__name__}")
    return value


def _texts(body: dict[str, Any], name: str) -> frozenset[str]:
    values = body.get(name, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise BadRequestError(f"{name} must be a list of texts")
    return frozenset(values)


def _query(request: Request, name: str) -> str | None:
    values = parse_qs(request.query).get(name)
    return values[-1] if values else None


def _place(text: str | None) -> Path | None:
    if not text:
        return None
    if not text.startswith("/"):
        raise BadRequestError("name the repository with an absolute path")
    return Path(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise BadRequestError("deadline must be a number of seconds") from None
    if not 0 < seconds <= LONGEST_DEADLINE_SECONDS:
        raise BadRequestError(f"deadline must be within {LONGEST_DEADLINE_SECONDS:g} s")
    return seconds
