"""systemd: the text of the unit, and the commands."""

import os
import re
from pathlib import Path

from bbhost.daemon.config import xdg
from bbhost.daemon.restart.unit import MOST_TERMINALS, UNIT_VARIABLE
from bbhost.daemon.service.plan import ServiceKind, ServicePlan
from bbhost.daemon.service.templates import SYSTEMD, read_template

NOTIFY_RELOAD_SINCE = 253
"""Older ones do not know ``Type=notify-reload``; for them the unit has a command that sends SIGHUP."""


def render_unit(plan: ServicePlan, version: int) -> str:
    """Return the unit's text.

    Args:
        version: of the systemd that will read it.
    """
    system = plan.kind is ServiceKind.SYSTEMD_SYSTEM
    if version >= NOTIFY_RELOAD_SINCE:
        type_lines = "Type=notify-reload"
    else:
        type_lines = (
            "# Type=notify-reload would do, from systemd 253 on.\n"
            "Type=notify\nExecReload=/bin/kill -HUP $MAINPID"
        )
    text = read_template(SYSTEMD).format(
        unit=unit_name(plan),
        description=_specifiers(str(plan.data_dir)),
        after=(
            "Wants=network-online.target\nAfter=network-online.target"
            if system
            else "# The user's manager has no network target to wait for; the daemon tries again by itself."
        ),
        type=type_lines,
        command=" ".join(map(quote, plan.command)),
        after_stop=" ".join(map(quote, plan.after_stop)),
        unit_variable=assign(UNIT_VARIABLE, f"{'system' if system else 'user'}/{unit_name(plan)}"),
        most_terminals=MOST_TERMINALS,
        user=f"User={plan.user}" if system else "# Runs as the user whose manager this is.",
        home=_specifiers(str(plan.home)),
        path=assign("PATH", plan.path),
        config=assign("BBHOST_CONFIG", str(plan.config_file)),
        watchdog=f"{plan.watchdog_seconds}s",
        oom=(
            "OOMScoreAdjust=-100"
            if system
            else "# OOMScoreAdjust below the manager's own is not the user's to give."
        ),
        hardening=(
            "RemoveIPC=no"
            if system
            else "# Everything else needs more than a user's manager may do."
        ),
        wanted_by="multi-user.target" if system else "default.target",
    )
    return re.sub(r"\n{3,}", "\n\n", text)


def unit_name(plan: ServicePlan) -> str:
    """Return the unit's file name."""
    return f"{plan.name}.service"


def unit_path(plan: ServicePlan) -> Path:
    """Return where the unit belongs."""
    if plan.kind is ServiceKind.SYSTEMD_SYSTEM:
        return Path("/etc/systemd/system") / unit_name(plan)
    return xdg("XDG_CONFIG_HOME", ".config") / "systemd" / "user" / unit_name(plan)


def systemctl(plan: ServicePlan, *words: str) -> list[str]:
    """Return a command for the manager that has the unit."""
    scope = [] if plan.kind is ServiceKind.SYSTEMD_SYSTEM else ["--user"]
    return ["systemctl", *scope, *words]


def journalctl(plan: ServicePlan, lines: int, follow: bool) -> list[str]:
    """Return the command that shows the log."""
    unit = "--unit" if plan.kind is ServiceKind.SYSTEMD_SYSTEM else "--user-unit"
    return [
        "journalctl",
        f"{unit}={unit_name(plan)}",
        f"--lines={lines}",
        "--output=cat",
        *(["--follow"] if follow else ["--no-pager"]),
    ]


def quote(word: str) -> str:
    """Make one word of a command line, with nothing in it that systemd would replace."""
    return _quoted(word.replace("$", "$$"))


def assign(name: str, value: str) -> str:
    """Make an assignment for ``Environment=``, where the dollar means nothing."""
    return _quoted(f"{name}={value}")


def _quoted(word: str) -> str:
    escaped = _specifiers(word).replace("\\", "\\\\").replace('"', '\\"')
    plain = re.fullmatch(r"[A-Za-z0-9_@%+=:,./-]+", escaped)
    return escaped if plain else f'"{escaped}"'


def parse_version(text: str) -> int:
    """Return the number of ``systemd 252 (252.38-1)``; 0 where there is none."""
    match = re.match(r"systemd (\d+)", text)
    return int(match[1]) if match else 0


def lingers(user: str) -> bool:
    """Whether the user's manager runs while nobody is logged in. Blocking."""
    return os.path.exists(f"/var/lib/systemd/linger/{user}")  # noqa: PTH110 - a plain look


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")
