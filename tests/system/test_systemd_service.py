"""The service's definition is accepted by systemd, and the service lives under a real one as it should."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bbhost.daemon.config import load_config
from bbhost.daemon.service.plan import ServiceKind, make_plan
from bbhost.daemon.service.systemd import parse_version, render_unit, unit_name
from tests.system.test_systemd_boundary import ROOT, RUNNER, _why_not

pytestmark = pytest.mark.slow
no_systemd = _why_not()


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
@pytest.mark.parametrize("kind", [ServiceKind.SYSTEMD_SYSTEM, ServiceKind.SYSTEMD_USER])
def test_systemd_understands_the_unit(kind: ServiceKind, tmp_path: Path) -> None:
    """No unknown setting, no value that is ignored, with a path that has to be quoted."""
    flags = {"data_dir": str(tmp_path / 'a "b" $c %d'), "server_url": "http://127.0.0.1:1"}
    plan = make_plan(load_config(flags, environ={}, file=tmp_path / "config.toml"), kind)
    version = subprocess.run(
        ["systemctl", "--version"], capture_output=True, text=True, check=True
    ).stdout
    path = tmp_path / unit_name(plan)
    path.write_text(render_unit(plan, parse_version(version)))
    scope = ["--user"] if kind is ServiceKind.SYSTEMD_USER else []
    done = subprocess.run(
        ["systemd-analyze", *scope, "verify", "--man=no", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if plan.name in line]
    assert ours == [], done.stderr


@pytest.mark.skipif(no_systemd is not None, reason=str(no_systemd))
@pytest.mark.parametrize(
    "steps",
    ["systemd_service_steps.py", "systemd_terminal_steps.py", "systemd_user_steps.py"],
)
def test_the_service_under_a_real_systemd(steps: str) -> None:
    """Start, ready, status text, reload, boundary, watchdog, stop, log lines, terminals: see the steps."""
    command = [
        sys.executable,
        "-B",
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-q",
        "-rP",
        "-m",
        "",
        "-o",
        "addopts=",
    ]
    done = subprocess.run(
        [str(RUNNER), *command, f"tests/system/{steps}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert re.search(r"\b1 passed", done.stdout), done.stdout[-2000:]
