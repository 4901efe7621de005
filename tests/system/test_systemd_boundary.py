"""The process boundary by cgroup leaf, under a real systemd that has delegated the subtree."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = Path(__file__).with_name("systemd_runner.sh")
ROOT = Path(__file__).parents[2]
PRIVATE = ("/tmp", "/run", "/var/tmp")
"""Empty within the runner."""


def _why_not() -> str | None:
    if sys.platform != "linux":
        return "systemd is for Linux"
    if os.geteuid() != 0:
        return "booting a systemd in new namespaces needs root"
    if not Path("/lib/systemd/systemd").exists() or shutil.which("unshare") is None:
        return "systemd or unshare is not installed"
    for place in (Path(sys.executable), Path(sys.prefix), ROOT):
        if any(place.is_relative_to(private) for private in PRIVATE):
            return f"{place} would not be there: the systemd of the test has a {place.parents[-2]} of its own"
    probe = [
        "unshare",
        "--cgroup",
        "--pid",
        "--mount",
        "--net",
        "--fork",
        "mount",
        "-t",
        "cgroup2",
        "none",
        "/sys",
    ]
    tried = subprocess.run(probe, capture_output=True, check=False)
    return None if tried.returncode == 0 else "new namespaces or cgroup v2 are not permitted here"


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(_why_not() is not None, reason=str(_why_not())),
]


def _under_systemd(*properties: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    options = [word for value in properties for word in ("-p", value)]
    return subprocess.run(
        [str(RUNNER), *options, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_every_survivor_is_ended_in_its_leaf():
    """The tests of the boundary pass with the cgroup backend, none of them skipped."""
    tests = [
        "tests/integration/processes",
        "-k",
        "cgroup",
        "-m",
        "",
        "-p",
        "no:cacheprovider",
        "-q",
        "-o",
        "addopts=",
    ]
    done = _under_systemd("Delegate=yes", command=[sys.executable, "-B", "-m", "pytest", *tests])
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 20
    assert "skipped" not in done.stdout


def test_a_tree_that_was_not_delegated_is_left_alone():
    """Root may write there, but the tree belongs to the service manager."""
    look = "from bbhost.processes.leaf import find_delegated_tree as find; print(find())"
    done = _under_systemd(command=[sys.executable, "-c", look])
    assert done.stdout.strip() == "None", done.stdout + done.stderr
    done = _under_systemd("Delegate=yes", command=[sys.executable, "-c", look])
    assert "system.slice/runner.service" in done.stdout, done.stdout + done.stderr
