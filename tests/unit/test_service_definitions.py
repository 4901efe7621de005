"""What is written for systemd and launchd: every value survives, and every key is one they document."""

import plistlib
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bbhost.daemon.config import load_config
from bbhost.daemon.service.launchd import render_plist
from bbhost.daemon.service.plan import (
    ServiceError,
    ServiceKind,
    ServicePlan,
    default_kind,
    make_plan,
    service_name,
)
from bbhost.daemon.service.systemd import assign, parse_version, quote, render_unit

ODD = '/home/d e/"q"/100%/$HOME/back\\slash'

LAUNCHD_KEYS: dict[str, type | tuple[type, ...]] = {
    "Label": str,
    "ProgramArguments": list,
    "EnvironmentVariables": dict,
    "WorkingDirectory": str,
    "RunAtLoad": bool,
    "KeepAlive": (bool, dict),
    "ThrottleInterval": int,
    "ExitTimeOut": int,
    "AbandonProcessGroup": bool,
    "ProcessType": str,
    "SoftResourceLimits": dict,
    "StandardOutPath": str,
    "StandardErrorPath": str,
}
"""Of launchd.plist(5), those that bbhost uses, with their types."""
KEEP_ALIVE_KEYS = {
    "SuccessfulExit",
    "Crashed",
    "AfterInitialDemand",
    "OtherJobEnabled",
    "PathState",
}
PROCESS_TYPES = {"Background", "Standard", "Adaptive", "Interactive"}
RESOURCE_LIMITS = {"Core", "CPU", "Data", "FileSize", "MemoryLock", "NumberOfFiles",
                   "NumberOfProcesses", "ResidentSetSize", "Stack"}  # fmt: skip


def plan_of(
    kind: ServiceKind, tmp_path: Path, data_dir: str = "/srv/data", **more: str
) -> ServicePlan:
    flags = {"data_dir": data_dir, "server_url": "http://127.0.0.1:38886", **more}
    config = load_config(flags, environ={}, file=tmp_path / "config.toml")
    return make_plan(config, kind, python="/opt/py/bin/python", environ={"PATH": "/a b:/usr/bin"})


def assignments(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("kind", [ServiceKind.SYSTEMD_USER, ServiceKind.SYSTEMD_SYSTEM])
def test_the_unit_says_what_the_daemon_needs(kind: ServiceKind, tmp_path: Path) -> None:
    """Readiness, watchdog, restart, delegation and stop are all in it; nothing is left to fill in."""
    unit = render_unit(plan_of(kind, tmp_path), 255)
    found = assignments(unit)
    assert found["Type"] == ["notify-reload"]
    assert found["Delegate"] == ["yes"]
    assert found["KillMode"] == ["process"]
    (after,) = found["ExecStopPost"]
    assert after == "-/opt/py/bin/python -m bbhost.daemon.restart.after_stop /srv/data"
    assert found["FileDescriptorStoreMax"] == ["64"]
    scope = "user" if kind is ServiceKind.SYSTEMD_USER else "system"
    assert any(value.startswith(f"BBHOST_UNIT={scope}/bbhost") for value in found["Environment"])
    assert found["Restart"] == ["on-failure"]
    assert found["RestartPreventExitStatus"] == ["78"]
    assert found["WatchdogSec"] == ["30s"]
    assert found["NotifyAccess"] == ["main"]
    assert ("User" in found) == (kind is ServiceKind.SYSTEMD_SYSTEM)
    assert "{" not in unit
    assert "NoNewPrivileges" not in found
    assert '"PATH=/a b:/usr/bin"' in found["Environment"]


def test_an_older_systemd_gets_a_reload_command(tmp_path: Path) -> None:
    """Type=notify-reload came with 253."""
    found = assignments(render_unit(plan_of(ServiceKind.SYSTEMD_SYSTEM, tmp_path), 252))
    assert found["Type"] == ["notify"]
    assert found["ExecReload"] == ["/bin/kill -HUP $MAINPID"]


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("plain-word/1.2", "plain-word/1.2"),
        ("two words", '"two words"'),
        ("100%", "100%%"),
        ("$HOME", '"$$HOME"'),
        ('a"b', '"a\\"b"'),
        ("a\\b", '"a\\\\b"'),
        ("", '""'),
    ],
)
def test_words_reach_the_program_as_they_are(word: str, written: str) -> None:
    """Nothing in a path is taken for a specifier, a variable, or the end of a word."""
    assert quote(word) == written


def test_a_dollar_in_an_assignment_stays_single() -> None:
    """systemd expands variables in commands only."""
    assert assign("PATH", "/a/$x/100%") == '"PATH=/a/$x/100%%"'


def test_no_secret_and_no_control_character_is_written(tmp_path: Path) -> None:
    """The enrolment key stays out; a line break would begin another setting."""
    plan = plan_of(ServiceKind.SYSTEMD_USER, tmp_path, enroll_key="hunter2")
    assert "hunter2" not in render_unit(plan, 252)
    assert b"hunter2" not in render_plist(plan)
    with pytest.raises(ServiceError, match="control character"):
        plan_of(ServiceKind.SYSTEMD_USER, tmp_path, "/srv/a\nExecStart=/bin/evil")


def test_settings_given_now_are_given_to_the_service(tmp_path: Path) -> None:
    """What came from flags or variables is written down; defaults are not."""
    plan = plan_of(ServiceKind.SYSTEMD_USER, tmp_path, log_level="debug", git_processes="4")
    assert plan.command[:5] == (
        "/opt/py/bin/python",
        "-m",
        "bbhost.daemon",
        "--data-dir",
        "/srv/data",
    )
    shown = shlex.join(plan.command)
    assert "--log-level debug" in shown
    assert "--git-processes 4" in shown
    assert "--watch-share" not in shown


@pytest.mark.parametrize("data_dir", ["/srv/data", ODD])
def test_the_property_list_holds_documented_keys_only(tmp_path: Path, data_dir: str) -> None:
    """Of the right types; the traps of launchd are handled; odd paths come through."""
    plan = plan_of(ServiceKind.LAUNCHD, tmp_path, data_dir)
    document = plistlib.loads(render_plist(plan))
    assert document.keys() <= LAUNCHD_KEYS.keys()
    for key, value in document.items():
        assert isinstance(value, LAUNCHD_KEYS[key]), key
    assert document["KeepAlive"].keys() <= KEEP_ALIVE_KEYS
    assert document["KeepAlive"] == {"SuccessfulExit": False}
    assert document["ProcessType"] in PROCESS_TYPES
    assert document["SoftResourceLimits"].keys() <= RESOURCE_LIMITS
    assert document["ProgramArguments"][:5] == list(plan.command)[:5]
    assert data_dir in document["ProgramArguments"]
    assert document["EnvironmentVariables"]["PATH"] == "/a b:/usr/bin"
    assert document["EnvironmentVariables"]["BBHOST_SERVICE_MANAGER"] == "launchd"
    assert "--log-file" in document["ProgramArguments"]
    assert "{" not in render_plist(plan).decode().replace(ODD, "")


def test_names_and_kinds() -> None:
    """One data directory, one service; the version of systemd is read from its own words."""
    assert service_name(Path("/srv/data")) != service_name(Path("/srv/other"))
    assert default_kind("darwin") is ServiceKind.LAUNCHD
    with pytest.raises(ServiceError):
        default_kind("win32")
    assert parse_version("systemd 252 (252.38-1~deb12u1)\n+PAM") == 252
    assert parse_version("nonsense") == 0


def test_a_service_needs_a_server(tmp_path: Path) -> None:
    """Said when it is installed, not when it fails to start."""
    config = load_config({}, environ={}, file=tmp_path / "config.toml")
    with pytest.raises(ServiceError, match="server_url"):
        make_plan(config, ServiceKind.SYSTEMD_USER)


@pytest.mark.slow
def test_what_is_rarely_needed_is_not_in_the_daemon(tmp_path: Path) -> None:
    """Doctor, collector, rescue desk and service engine are imported when they are asked for."""
    program = (
        "import sys, bbhost.daemon.__main__; "
        "print([name for name in sys.modules if name.startswith(('bbhost.daemon.doctor', "
        "'bbhost.daemon.collecting', 'bbhost.daemon.rescues', 'bbhost.daemon.service', "
        "'bbhost.daemon.metrics', 'bbhost.daemon.offline', 'bbhost.cli', 'asyncio.', 'httpx'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
