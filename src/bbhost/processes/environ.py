"""The environment variables that children of the daemon receive.

Children run programs of the user, so they get the environment the daemon was started with, except
what is private to the daemon: its own settings and credentials, the variables of the service
manager's notification protocol, and (for git) everything that would redirect git to another
repository.
"""

import os
from collections.abc import Mapping
from types import MappingProxyType

MARKER_VARIABLE = "BBHOST_BOUNDARY"
"""Names the boundary a process was started in; see ``marker.py``."""

_PRIVATE_PREFIXES = ("BB_", "BBHOST_")
_PRIVATE_NAMES = frozenset(
    {
        # Set by whoever runs the daemon for the daemon; it changes how the user's tools build.
        "NODE_ENV",
        # A child that speaks to the service manager in the daemon's name would confuse it.
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "LISTEN_FDNAMES",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_PIDFDID",
        "FDSTORE",
        "CREDENTIALS_DIRECTORY",
    }
)
_NOTHING: Mapping[str, str] = MappingProxyType({})


def child_environ(
    extra: Mapping[str, str] = _NOTHING,
    *,
    git: bool = False,
    inherited: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the environment for a child process.

    Args:
        extra: added last, so it may set even names that are otherwise left out.
        git: also leave out every ``GIT_*`` variable.
        inherited: the environment to start from; the daemon's own where omitted.
    """
    prefixes = (*_PRIVATE_PREFIXES, "GIT_") if git else _PRIVATE_PREFIXES
    base = os.environ if inherited is None else inherited
    kept = {
        name: value
        for name, value in base.items()
        if name not in _PRIVATE_NAMES and not name.startswith(prefixes)
    }
    kept.update(extra)
    return kept
