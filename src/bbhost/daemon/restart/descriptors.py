"""The descriptors that the service manager kept for us, and passes to a daemon that starts (LISTEN_FDS)."""

import logging
import os
from collections.abc import MutableMapping

log = logging.getLogger(__name__)

_FIRST = 3
"""Number of the first one, by the protocol."""


def take_descriptors(environ: MutableMapping[str, str] | None = None) -> dict[str, int]:
    """Return the descriptors by name, and remove what speaks of them from the environment.

    To be called once, before anything else is started: until then they would be inherited by children.
    Several of one name are closed but for the first.
    """
    environ = os.environ if environ is None else environ
    for_pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    environ.pop("LISTEN_PIDFDID", None)
    if for_pid != str(os.getpid()) or not count.isdigit():
        return {}
    taken: dict[str, int] = {}
    for index in range(int(count)):
        descriptor = _FIRST + index
        name = names[index] if index < len(names) else ""
        try:
            os.set_inheritable(descriptor, False)
        except OSError as error:
            log.warning(
                "descriptor %d (%s) was announced and is not there: %s", descriptor, name, error
            )
            continue
        if name in taken:
            os.close(descriptor)
        else:
            taken[name] = descriptor
    return taken
