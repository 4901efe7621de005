"""Settings of the daemon: where each value may come from, and where it came from.

Order of precedence: command-line flag, ``BBHOST_*`` variable, ``BB_*`` variable (those of the original
host daemon, so that bbhost can take its place), the TOML file, the default.
"""

import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from bbhost.errors import ConfigError


@frozen
class Setting:
    """One setting: its names and how text becomes a value."""

    name: str
    help: str
    parse: Callable[[str], Any] = str
    variables: tuple[str, ...] = ()
    default: Any = None
    secret: bool = False


@frozen
class Sourced:
    """A value and where it came from."""

    value: Any
    source: str


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError("not a port number")
    return port


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("must be at least 1")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not number >= 0:
        raise ValueError("must not be negative")
    return number


def _pause(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError("must be more than 0")
    return number


def _flag(text: str) -> bool:
    try:
        return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[
            text.strip().lower()
        ]
    except KeyError:
        raise ValueError("must be true or false") from None


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    return parse


_LEVELS = ("debug", "info", "warning", "error")
_LEVELS_OF_THE_ORIGINAL = {
    "trace": "debug",
    "warn": "warning",
    "fatal": "error",
    "silent": "error",
}
"""What ``BB_LOG_LEVEL`` may hold where the original daemon ran before."""


def _log_level(text: str) -> str:
    return _choice(*_LEVELS)(_LEVELS_OF_THE_ORIGINAL.get(text, text))


def xdg(variable: str, fallback: str) -> Path:
    """Return a base directory of the XDG specification; relative values are ignored as it says."""
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else Path.home() / fallback


def default_data_dir() -> str:
    """Where environments and the journal live unless told otherwise."""
    return str(xdg("XDG_DATA_HOME", ".local/share") / "bbhost")


def config_path() -> Path:
    """The TOML file: ``BBHOST_CONFIG`` or the XDG place."""
    named = os.environ.get("BBHOST_CONFIG")
    return Path(named) if named else xdg("XDG_CONFIG_HOME", ".config") / "bbhost" / "config.toml"


SETTINGS: tuple[Setting, ...] = (
    Setting("server_url", "control server to connect to", str, ("BB_SERVER_URL",)),
    Setting("data_dir", "directory of worktrees, journal and keys", str, ("BB_DATA_DIR",)),
    Setting("enroll_key", "key for the first enrolment", str, ("BB_HOST_ENROLL_KEY",), None, True),
    Setting("host_id", "id of this host, where one is given", str, ("BB_HOST_ID",)),
    Setting("host_name", "name of this host", str, ("BB_HOST_NAME",)),
    Setting("host_type", "kind of host", _choice("persistent"), ("BB_HOST_TYPE",), "persistent"),
    Setting("local_port", "port of the local HTTP API; off unless set", _port, ("BB_HOST_DAEMON_PORT",)),
    Setting("local_metrics", "offer metrics on the local HTTP API, to every user of this machine", _flag, (), False),
    Setting("app_url", "origin that may read the local HTTP API", str, ("BB_APP_URL",)),
    Setting("dev_app_port", "port of a development web page that may read the local HTTP API", _port, ("BB_DEV_APP_PORT",)),
    Setting("cli_dir", "directory put first on PATH of agents and terminals", str, ("BB_CLI_DIR",)),
    Setting("thread_storage", "directory of thread storage", str, ("BB_THREAD_STORAGE",)),
    Setting("log_level", "debug, info, warning or error", _log_level, ("BB_LOG_LEVEL",), "info"),
    Setting("log_format", "text, json, or auto (text on a terminal)", _choice("auto", "text", "json"), (), "auto"),
    Setting("log_file", "write logs to this file, rotated; standard error otherwise"),
    Setting("watch_backend", "auto, inotify, watchfiles or polling", _choice("auto", "inotify", "watchfiles", "polling"), (), "auto"),
    Setting("watch_share", "share of the kernel's inotify watches that may be used", float, (), 0.5),
    Setting("process_boundary", "auto, cgroup, subreaper or plain", _choice("auto", "cgroup", "subreaper", "plain"), (), "auto"),
    Setting("git_processes", "git processes that may run at once", _positive, (), 0),
    Setting("lock_seconds", "how long a git operation waits for others on its checkout or repository", _pause, (), 300.0),
    Setting("git_look_seconds", "how long one git process may take that only looks (status, refs)", _pause, (), 15.0),
    Setting("paranoid_sample", "check one in N cached answers against git; 0 = never", int, (), 0),
    Setting("rescue_max_mib", "largest rescue kept as a git ref", _positive, (), 256),
    Setting("drain_seconds", "how long running commands may finish at stop", _seconds, (), 2.0),
    Setting("start_up_seconds", "how long the first session may take before the daemon gives up", _seconds, (), 60.0),
    Setting("reconnect_seconds", "pause before a lost session is opened again; doubles", _pause, (), 1.0),
    Setting("poll_seconds", "commands are fetched at least this often, hinted at or not", _pause, (), 10.0),
    Setting("reconnect_longest_seconds", "longest wait between two attempts to reach the server", _pause, (), 30.0),
    Setting("control_socket", "path of the control socket"),
)  # fmt: skip

_BY_NAME = {setting.name: setting for setting in SETTINGS}


@frozen
class Config:
    """Every setting with its source."""

    values: Mapping[str, Sourced]
    providers: Mapping[str, Mapping[str, Any]]
    """The ``[providers.<id>]`` tables, checked by the agents package."""
    file: Path
    flags: Mapping[str, str | None] = field(factory=dict)
    """What was given on the command line: it holds when the configuration is read again."""

    def get(self, name: str) -> Any:  # noqa: ANN401 - typed by the setting's own parser
        """Value of a setting."""
        return self.values[name].value

    @staticmethod
    def is_secret(name: str) -> bool:
        """Whether the value of a setting must not be shown or written down."""
        return _BY_NAME[name].secret

    @property
    def data_dir(self) -> Path:
        """Absolute path of the data directory."""
        return Path(self.get("data_dir") or default_data_dir()).expanduser().absolute()


def load_config(
    flags: Mapping[str, str | None] | None = None,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Config:
    """Gather every setting.

    Args:
        flags: values given on the command line; None or absent means not given.
        environ: environment variables; the process's own by default. Blank counts as unset.
        file: the TOML file; a missing file is an empty one.

    Raises:
        ConfigError: a value cannot be understood; the message names it and its source.
    """
    flags, environ = flags or {}, os.environ if environ is None else environ
    file = file or config_path()
    table = _read_toml(file)
    providers = table.pop("providers", {})
    unknown = sorted(set(table) - set(_BY_NAME))
    if unknown:
        raise ConfigError(
            f"{file}: unknown setting {unknown[0]!r}; known are {', '.join(sorted(_BY_NAME))}"
        )
    values = {setting.name: _find(setting, flags, environ, table, file) for setting in SETTINGS}
    return Config(values, providers, file, flags)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:  # also: not UTF-8, nested without end
        raise ConfigError(f"Cannot read {file}: {error}") from error


def _find(
    setting: Setting,
    flags: Mapping[str, str | None],
    environ: Mapping[str, str],
    table: Mapping[str, Any],
    file: Path,
) -> Sourced:
    flag = flags.get(setting.name)
    if flag is not None:
        return _parse(setting, flag, f"--{setting.name.replace('_', '-')}")
    for variable in (f"BBHOST_{setting.name.upper()}", *setting.variables):
        text = environ.get(variable, "")
        if text.strip():
            return _parse(setting, text, variable)
    if setting.name in table:
        raw = table[setting.name]
        return _parse(setting, str(raw).lower() if isinstance(raw, bool) else str(raw), str(file))
    return Sourced(setting.default, "default")


def _parse(setting: Setting, text: str, source: str) -> Sourced:
    try:
        return Sourced(setting.parse(text), source)
    except ValueError as error:
        shown = "(hidden)" if setting.secret else repr(text)
        raise ConfigError(f"{source}: {setting.name} = {shown}: {error}") from error
