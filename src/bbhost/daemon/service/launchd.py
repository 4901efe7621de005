"""launchd: the property list, and the commands."""

import os
import plistlib
from pathlib import Path
from typing import Any

from bbhost.daemon.service.plan import ServicePlan
from bbhost.daemon.service.templates import LAUNCHD, read_template

LOG_DIRECTORY = "Library/Logs/bbhost"


def render_plist(plan: ServicePlan) -> bytes:
    """Return the property list as XML. Values are put in after parsing, so none can break its form."""
    values = {
        "{label}": plan.label,
        "{path}": plan.path,
        "{home}": str(plan.home),
        "{config}": str(plan.config_file),
        "{stderr}": str(log_directory(plan) / f"{plan.name}.stderr.log"),
    }
    document = plistlib.loads(read_template(LAUNCHD).encode("utf-8"))
    filled = _fill(document, values)
    filled["ProgramArguments"] = [*plan.command, *log_flags(plan)]
    return plistlib.dumps(filled)


def log_flags(plan: ServicePlan) -> list[str]:
    """Return the flags for a log that the daemon rotates: launchd never does."""
    if "--log-file" in plan.command:
        return []
    return ["--log-file", str(log_directory(plan) / f"{plan.name}.log")]


def log_directory(plan: ServicePlan) -> Path:
    """Return where logs belong on macOS."""
    return plan.home / LOG_DIRECTORY


def plist_path(plan: ServicePlan) -> Path:
    """Return where the property list belongs."""
    return plan.home / "Library" / "LaunchAgents" / f"{plan.label}.plist"


def domain() -> str:
    """Return the domain of the user's graphical session, where agents belong."""
    return f"gui/{os.getuid()}"


def target(plan: ServicePlan) -> str:
    """Return the service's name within its domain."""
    return f"{domain()}/{plan.label}"


def _fill(value: Any, values: dict[str, str]) -> Any:  # noqa: ANN401 - whatever a property list holds
    if isinstance(value, dict):
        return {key: _fill(inner, values) for key, inner in value.items()}
    if isinstance(value, list):
        return [_fill(inner, values) for inner in value]
    return values.get(value, value) if isinstance(value, str) else value
