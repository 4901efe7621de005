"""Whether git is new enough to work with, and to trust."""

import re
from pathlib import Path

from bbhost.daemon.doctor.finding import Finding, error, info, ok
from bbhost.daemon.doctor.subject import Subject
from bbhost.errors import BbhostError

CHECK = "git"
FLOOR = (2, 31, 0)
"""Takes configuration from the environment, which is how it is disarmed."""
FIXED = {
    (2, 43): 7, (2, 44): 4, (2, 45): 4, (2, 46): 4, (2, 47): 3, (2, 48): 2, (2, 49): 1, (2, 50): 1,
}  # fmt: skip
"""First release of each series without CVE-2025-48384; older series have it, newer ones do not."""


async def check_git(subject: Subject) -> list[Finding]:
    """Ask git for its version."""
    try:
        result = await subject.git.run("--version", cwd=Path("/"), timeout_seconds=10)
    except BbhostError as trouble:
        return [error(CHECK, "git cannot be run", [trouble.message], "install git")]
    text = result.stdout.decode("utf-8", "replace").strip()
    version = parse_version(text)
    if version is None:
        return [info(CHECK, f"the version of git is not understood: {text}")]
    shown = ".".join(map(str, version))
    if version < FLOOR:
        floor = ".".join(map(str, FLOOR))
        return [error(CHECK, f"git {shown} is too old", remedy=f"install git {floor} or newer")]
    if not is_fixed(version):
        return [
            info(
                CHECK,
                f"git {shown} is older than the release that fixed CVE-2025-48384 (clone with submodules)",
                ["bbhost never clones and never recurses into submodules; people and agents may"],
                "see whether the distribution has fixed it in its package",
            )
        ]
    return [ok(CHECK, f"git {shown}")]


def parse_version(text: str) -> tuple[int, int, int] | None:
    """Return the three numbers of ``git version 2.39.5 (Apple Git-154)``; None where there are none."""
    match = re.match(r"git version (\d+)\.(\d+)(?:\.(\d+))?", text)
    return None if match is None else (int(match[1]), int(match[2]), int(match[3] or 0))


def is_fixed(version: tuple[int, int, int]) -> bool:
    """Whether the upstream release of that number has the fix."""
    series = version[:2]
    if series > max(FIXED):
        return True
    return series in FIXED and version[2] >= FIXED[series]
