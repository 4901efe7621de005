"""What has to happen in the child between its birth and its program, and cannot be done from outside.

Two things: joining a cgroup leaf (the child must be in it before it can fork, or what it forked
stays outside) and taking a controlling terminal (only the session leader itself can). ``Popen``
offers neither, and a ``preexec_fn`` runs Python after a fork of a program with threads, which may
deadlock and costs a copy of the daemon's page tables (2 to 6 ms). A five-line ``/bin/sh`` that
then executes the program in its own place, with the same pid, costs 0.6 ms and cannot deadlock.

The shell gets fixed text; program, arguments and paths are its parameters and are never parsed.
"""

import errno
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

_JOIN_LEAF = 'echo $$ >"$1" || exit 126; shift; '
# Opening a terminal makes it the controlling one of a session leader that has none.
_TAKE_TERMINAL = 'exec 9<>"$1" 9>&- || exit 126; shift; '
_RUN = 'exec "$@"'

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def through_launcher(
    argv: Sequence[str],
    *,
    cwd: Path | str,
    env: Mapping[str, str],
    leaf_procs: Path | None = None,
    terminal: str | None = None,
) -> list[str]:
    """Return the argv that does what is asked and then becomes ``argv``.

    Args:
        leaf_procs: the ``cgroup.procs`` file of the leaf to join.
        terminal: path under which the child opens the terminal that is to control its session.

    Raises:
        OSError: the program does not exist or may not be executed, as ``execve`` would have said
        it.
    """
    program = find_program(argv[0], cwd=cwd, env=env)
    script, parameters = "", []
    if leaf_procs is not None:
        script += _JOIN_LEAF
        parameters.append(str(leaf_procs))
    if terminal is not None:
        script += _TAKE_TERMINAL
        parameters.append(terminal)
    # A POSIX shell forgets variables whose names it could not assign (exported bash functions).
    odd = [f"{name}={value}" for name, value in env.items() if not _IDENTIFIER.match(name)]
    restore = ["/usr/bin/env", *odd] if odd else []
    return ["/bin/sh", "-c", script + _RUN, "sh", *parameters, *restore, program, *argv[1:]]


def find_program(name: str, *, cwd: Path | str, env: Mapping[str, str]) -> str:
    """Return the path of the program that ``name`` stands for.

    Raises:
        FileNotFoundError: there is none.
        PermissionError: there is one that may not be executed.
    """
    if os.sep in name:
        path = Path(cwd, name)
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        if path.is_dir() or not os.access(path, os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
        return name
    found = shutil.which(name, path=env.get("PATH", os.defpath))
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    return found
