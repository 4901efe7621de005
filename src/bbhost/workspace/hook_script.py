"""Running a script that a repository brings along for its environments.

The script is given to bash, so its execute bit does not matter. It gets no input, runs in the
environment's process boundary, and its whole process group is killed when its time is over.
"""

from collections.abc import Callable
from pathlib import Path

import trio
from attrs import frozen

from bbhost.processes.child import run_child
from bbhost.processes.environ import child_environ
from bbhost.processes.spawn import ProcessOpener
from bbhost.workspace.output_lines import OutputLines

_REDIRECTING = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)
"""Variables that would make git in the script act on another repository than the script's."""


@frozen
class ScriptEnd:
    """How a script ended."""

    returncode: int | None
    """Exit status (negative: a signal); None: its time was over or it could not be started."""
    detail: str = ""
    """What went wrong, for people; empty on success."""

    @property
    def succeeded(self) -> bool:
        """Whether it exited with status 0."""
        return self.returncode == 0


def script_in(workspace: Path, name: str) -> Path | None:
    """Return the absolute path of the script if the workspace has it. Blocking."""
    script = workspace / name
    return script if script.is_file() else None


async def run_hook_script(
    script: Path,
    *,
    timeout_seconds: float,
    boundary: ProcessOpener | None,
    on_line: Callable[[str], None],
) -> ScriptEnd:
    """Run ``script`` in its directory and hand each line it prints, stderr included, to ``on_line``.

    Cancellation: its process group is killed at once.
    """
    lines = OutputLines()

    def take(piece: bytes) -> None:
        for line in lines.feed(piece):
            on_line(line)

    environ = child_environ()
    for name in _REDIRECTING:
        environ.pop(name, None)
    completed = None
    try:
        with trio.move_on_after(timeout_seconds):
            completed = await run_child(
                ["env", "bash", str(script)],
                cwd=script.parent,
                env=environ,
                stdout_limit=0,
                on_output=take,
                merge_stderr=True,
                boundary=boundary,
                grace_seconds=0,
            )
    except OSError as error:
        return ScriptEnd(None, f"{script.name} could not be started: {error.strerror}")
    finally:
        for line in lines.finish():
            on_line(line)
    if completed is None:
        return ScriptEnd(None, f"{script.name} took longer than {timeout_seconds:g} seconds")
    if completed.returncode < 0:
        return ScriptEnd(
            completed.returncode, f"{script.name} was ended by signal {-completed.returncode}"
        )
    if completed.returncode > 0:
        return ScriptEnd(
            completed.returncode, f"{script.name} ended with exit status {completed.returncode}"
        )
    return ScriptEnd(0)
