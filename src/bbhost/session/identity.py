"""Who this host is: the ``host-id`` and ``auth.json`` files of the data directory.

Both are shared with the original daemon, so their form and the rules between them are the wire
contract's (section 1.3). A mismatch is never repaired by guessing: two hosts with one id take each
other's place without end. The functions here block briefly; call them at start-up or in a thread.
"""

import json
import os
import stat
import uuid
from logging import getLogger
from pathlib import Path

import attrs
from attrs import frozen

from bbhost.contract.codec import parse_json, structure, unstructure
from bbhost.contract.wire import require
from bbhost.domain.ids import HostId
from bbhost.errors import ConfigError, WireError
from bbhost.toolkit.private_directory import make_private_directory

log = getLogger(__name__)

HOST_TYPE = "persistent"
"""The only type of host of this protocol version."""
_PRIVATE = 0o600


def _trimmed(text: str) -> str:
    return text.strip()


@frozen
class HostIdentity:
    """An enrolled host. The key is a secret and is not shown."""

    host_id: HostId
    host_key: str = attrs.field(repr=False, converter=_trimmed)
    host_type: str = HOST_TYPE

    def __attrs_post_init__(self) -> None:
        require(bool(self.host_key), "hostKey must not be empty")
        require(bool(self.host_id), "hostId must not be empty")
        require(self.host_type == HOST_TYPE, f"hostType must be {HOST_TYPE!r}")


def resolve_host_id(data_dir: Path, given: str | None) -> HostId:
    """The id of this host: of the ``host-id`` file, else the one given, else a new one.

    Raises:
        ConfigError: the file holds another id than the one given, or cannot be read.
    """
    stored = _read(data_dir / "host-id")
    wanted = given.strip() if given else ""
    if stored is None:
        return HostId(wanted or str(uuid.uuid4()))
    host_id = stored.strip()
    if not host_id:
        raise ConfigError(f"{data_dir / 'host-id'} is empty: delete it, or put the host's id in")
    if wanted and wanted != host_id:
        raise ConfigError(
            f"this data directory belongs to host {host_id!r} ({data_dir / 'host-id'}), "
            f"but host {wanted!r} was asked for: choose another data directory or drop the setting"
        )
    return HostId(host_id)


def load_identity(
    data_dir: Path, host_id: HostId, host_type: str | None = None
) -> HostIdentity | None:
    """What an earlier enrolment left; None where there was none.

    Args:
        data_dir: the data directory.
        host_id: from :func:`resolve_host_id`.
        host_type: as configured; None or blank where it is not.

    Raises:
        ConfigError: ``auth.json`` is not what an enrolment leaves, or is of another host.
    """
    if host_type and host_type.strip() and host_type.strip() != HOST_TYPE:
        raise ConfigError(f"host type {host_type!r} is unknown: only {HOST_TYPE!r} exists")
    path = data_dir / "auth.json"
    text = _read(path)
    if text is None:
        return None
    try:
        document = parse_json(text)
        if isinstance(document, dict):
            document.pop("serverUrl", None)  # left by old versions
        identity = structure(HostIdentity, document, strict=True)
    except WireError as error:
        raise ConfigError(
            f"{path} is not what an enrolment leaves ({error.message}): "
            "move it away and enrol again with a new key"
        ) from error
    if identity.host_id != host_id:
        raise ConfigError(
            f"{path} belongs to host {identity.host_id!r}, but this host is {host_id!r} by "
            f"{data_dir / 'host-id'} or the settings: put the right host-id back, or move "
            "auth.json away and enrol again"
        )
    _tighten(path)
    return identity


def save_identity(data_dir: Path, identity: HostIdentity) -> None:
    """Keep what the server gave at enrolment: first ``host-id``, then ``auth.json``.

    Raises:
        ConfigError: ``host-id`` holds another id already, or the files cannot be written.
    """
    host_id_path = data_dir / "host-id"
    try:
        make_private_directory(data_dir)
        try:
            _write_new(host_id_path, f"{identity.host_id}\n")
        except FileExistsError:
            resolve_host_id(data_dir, identity.host_id)
        fields = unstructure(identity)
        path = data_dir / "auth.json"
        # Beside it and renamed, so that a crash leaves the old file or the new one.
        draft = path.with_name(f".auth.json.{os.getpid()}")
        draft.unlink(missing_ok=True)
        _write_new(draft, json.dumps(fields, indent=2) + "\n")
        draft.replace(path)
        _sync_directory(data_dir)
    except OSError as error:
        raise ConfigError(f"the identity of this host cannot be kept: {error}") from error


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _write_new(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tighten(path: Path) -> None:
    """A key that others may read is a key that others have: close it, and say so."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        log.warning("%s could be read by other users (mode %o); it is private now", path, mode)
        path.chmod(_PRIVATE)
