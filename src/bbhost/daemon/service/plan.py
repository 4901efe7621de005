"""What is to become a service: the values that the definitions of all service managers are made of."""

import hashlib
import os
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from attrs import frozen

from bbhost.daemon.config import Config, default_data_dir
from bbhost.errors import BbhostError

WATCHDOG_SECONDS = 30


class ServiceError(BbhostError):
    """The service manager refuses, or is not there; the message says what to do."""

    code = "service_failed"


class ServiceKind(StrEnum):
    """Who runs the service."""

    SYSTEMD_USER = "systemd-user"
    """The user's own systemd; needs lingering to run while nobody is logged in."""
    SYSTEMD_SYSTEM = "systemd-system"
    """The machine's systemd, as a given user; needs root to install."""
    LAUNCHD = "launchd"
    """The user's launchd on macOS."""


@frozen
class ServicePlan:
    """One daemon as a service."""

    kind: ServiceKind
    name: str
    """``bbhost``, or with a suffix for a data directory that is not the default one."""
    data_dir: Path
    command: tuple[str, ...]
    user: str
    """Name of the user it runs as; only used where the service manager has several."""
    home: Path
    path: str
    """PATH for the daemon, and so for agents and terminals."""
    config_file: Path
    """The configuration that the service reads, wherever it runs."""
    watchdog_seconds: int = WATCHDOG_SECONDS

    @property
    def after_stop(self) -> tuple[str, ...]:
        """What is run when the daemon has ended, however it ended."""
        module = "bbhost.daemon.restart.after_stop"
        return (self.command[0], "-m", module, str(self.data_dir))

    @property
    def label(self) -> str:
        """Its name in launchd's way."""
        return f"dev.bbhost.{self.name.removeprefix('bbhost').lstrip('-') or 'daemon'}"


def default_kind(platform: str = sys.platform) -> ServiceKind:
    """Return the kind that suits this system: root installs for the machine, others for themselves.

    Raises:
        ServiceError: there is no service manager that bbhost knows.
    """
    if platform == "darwin":
        return ServiceKind.LAUNCHD
    if platform != "linux":
        raise ServiceError(f"there is no service manager for {platform} here; run 'bbhost daemon'")
    return ServiceKind.SYSTEMD_SYSTEM if os.geteuid() == 0 else ServiceKind.SYSTEMD_USER


def make_plan(
    config: Config,
    kind: ServiceKind,
    *,
    user: str | None = None,
    python: str = sys.executable,
    environ: Mapping[str, str] | None = None,
) -> ServicePlan:
    """Gather the values of a service from the configuration.

    Settings that come from flags or variables now are written into the definition, because the service
    will not have them; those of the configuration file stay there, where a reload can change them. No
    secret is written: the daemon must be enrolled already, or read its key from the file.

    Args:
        user: whom a systemd system service runs as; the present user where omitted.

    Raises:
        ServiceError: a value is missing or cannot be in a service's definition.
    """
    import pwd

    environ = os.environ if environ is None else environ
    try:
        account = pwd.getpwnam(user) if user else pwd.getpwuid(os.getuid())
    except KeyError:
        raise ServiceError(f"there is no user {user or os.getuid()}") from None
    if not config.get("server_url"):
        raise ServiceError("a service needs a server: set server_url in the configuration file")
    data_dir = config.data_dir
    command = [python, "-m", "bbhost.daemon", "--data-dir", str(data_dir)]
    for name, sourced in config.values.items():
        given = sourced.source not in {"default", str(config.file)}
        if not given or sourced.value is None or name == "data_dir":
            continue
        if config.is_secret(name):
            continue
        command += [f"--{name.replace('_', '-')}", _flag(sourced.value)]
    for word in (*command, account.pw_dir, str(config.file), environ.get("PATH", "")):
        if any(ord(character) < 0x20 or character == "\x7f" for character in word):
            raise ServiceError(f"{word!r} has a control character and cannot be in a service")
    return ServicePlan(
        kind=kind,
        name=service_name(data_dir),
        data_dir=data_dir,
        command=tuple(command),
        user=account.pw_name,
        home=Path(account.pw_dir),
        path=environ.get("PATH", "") or os.defpath,
        config_file=config.file.absolute(),
    )


def service_name(data_dir: Path) -> str:
    """Return ``bbhost``, or ``bbhost-<digest>`` for a data directory that is not the default one."""
    if data_dir == Path(default_data_dir()):
        return "bbhost"
    return f"bbhost-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:8]}"


def _flag(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
