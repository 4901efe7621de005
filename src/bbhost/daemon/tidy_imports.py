"""Imported before all else by the daemon's program: rubbish of importing is cleared while importing goes on.

A generated class is made twice, and the first one is rubbish in a cycle; so is much of what compiling its methods
leaves. The collector would let all of that pile up, because what was imported is young and much. Cleared
now and then it never comes to be, which is 2 MiB of a daemon, for good: memory that was once needed in small pieces
hardly ever goes back.

``asyncio`` is not imported at all: the library of the state machines does it for machines with coroutines, of
which there are none here, and it would be another 2 MiB.
"""

import gc
import linecache
import logging
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from bbhost.toolkit.on_demand import import_on_demand

EVERY_MODULES = 48
"""Modules of ours between two collections, each of which takes 10 to 20 ms."""


class TidyImports:
    """A finder that finds nothing, and counts who is looked for."""

    def __init__(self) -> None:
        self._count = 0

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Called by the import system for every module that is not there yet."""
        del path, target
        if name.startswith("bbhost."):
            self._count += 1
            if self._count % EVERY_MODULES == 0:
                linecache.clearcache()
                gc.collect()
        return None


def stop_tidying() -> None:
    """All has been imported; what comes later is little."""
    sys.meta_path[:] = [one for one in sys.meta_path if not isinstance(one, TidyImports)]


sys.meta_path.insert(0, TidyImports())
import_on_demand("asyncio")
if sys.version_info >= (3, 12):
    logging.logAsyncioTasks = (
        False  # every record would ask for the task of a loop that is not there
    )
