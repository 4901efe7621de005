"""Becoming a host of a server: once per data directory."""

from logging import getLogger
from pathlib import Path

import trio
from attrs import frozen

from bbhost.contract.session import EnrollRequest
from bbhost.errors import ConfigError
from bbhost.session.client import open_client
from bbhost.session.errors import (
    ServerAnswerError,
    ServerRefusedError,
    ServerUnreachableError,
    SessionStartError,
)
from bbhost.session.identity import (
    HostIdentity,
    load_identity,
    resolve_host_id,
    save_identity,
)
from bbhost.session.server_url import ServerUrl
from bbhost.session.tls import client_tls

log = getLogger(__name__)


@frozen
class EnrolmentSettings:
    """What the user gave; None or blank where nothing."""

    data_dir: Path
    host_name: str
    enroll_key: str | None = None
    host_id: str | None = None
    host_type: str | None = None


async def ensure_enrolled(url: ServerUrl, settings: EnrolmentSettings) -> HostIdentity:
    """Return who this host is, enrolling it where it never was.

    An enrol key is ignored where there is an enrolment already. The key is used up by the server
    before the files are written; if that write fails, a new key is needed.

    Raises:
        ConfigError: the files of an earlier enrolment, or the settings, contradict each other.
        SessionStartError: the server did not accept the enrolment.
    """
    data_dir = settings.data_dir
    host_id = await trio.to_thread.run_sync(resolve_host_id, data_dir, settings.host_id)
    known = await trio.to_thread.run_sync(load_identity, data_dir, host_id, settings.host_type)
    if known is not None:
        return known
    key = (settings.enroll_key or "").strip()
    if not key:
        raise ConfigError(
            f"this host is not enrolled ({data_dir / 'auth.json'} is missing): "
            "give --enroll-key or set BB_HOST_ENROLL_KEY"
        )
    request = EnrollRequest(host_id, settings.host_name)
    async with open_client(url, client_tls(url), None) as client:
        try:
            response = await client.enroll(key, request)
        except ServerRefusedError as error:
            raise SessionStartError(f"enrolment failed: {error}") from error
        except (ServerUnreachableError, ServerAnswerError) as error:
            raise SessionStartError(f"enrolment at {url.text} failed: {error}") from error
    if response.host_id != host_id:
        raise SessionStartError(
            f"enrolment failed: the server enrolled {response.host_id!r}, not {host_id!r}"
        )
    identity = HostIdentity(host_id, response.host_key)
    await trio.to_thread.run_sync(save_identity, data_dir, identity)
    log.info("enrolled at %s as %s", url.text, host_id)
    return identity
