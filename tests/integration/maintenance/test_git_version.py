"""The doctor knows which git can be disarmed, and which has a known hole."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bbhost.daemon.doctor.finding import Severity
from bbhost.daemon.doctor.git_version import check_git
from bbhost.workspace.git import Git


@pytest.mark.parametrize(
    ("version", "severity"),
    [
        ("git version 2.30.9", Severity.ERROR),
        ("git version 2.31.0", Severity.INFO),
        ("git version 2.39.5 (Apple Git-154)", Severity.INFO),
        ("git version 2.43.6", Severity.INFO),
        ("git version 2.43.7", Severity.OK),
        ("git version 2.50.0", Severity.INFO),
        ("git version 2.51.0", Severity.OK),
        ("git version 3.0", Severity.OK),
        ("something else", Severity.INFO),
    ],
)
@pytest.mark.slow
async def test_an_old_git_is_told(version: str, severity: Severity, tmp_path: Path) -> None:
    """An error below the floor, a word about the hole above it."""
    program = tmp_path / "git"
    program.write_text(f"#!/bin/sh\necho '{version}'\n")
    program.chmod(0o755)
    subject: Any = SimpleNamespace(git=Git(executable=str(program)))
    (finding,) = await check_git(subject)
    assert finding.severity is severity
