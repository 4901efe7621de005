"""Modules that are imported when something of them is used, and not before.

For what a library imports at its top and this program never comes to use. Whoever does use it must do so in
one thread: two that load it at the same time may be given half of it. (The standard library's ``LazyLoader``
is of no help: ``import`` itself looks at the module, which loads it, before Python 3.12.)
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from threading import RLock
from types import ModuleType
from typing import Any

_loading = RLock()


class OnDemand(ModuleType):
    """Stands for a module in ``sys.modules`` until an attribute of it is asked for."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a module holds anything
        """Import the module, which takes the place of this one, and take its attribute.

        Raises:
            AttributeError: it has none of that name. What the import system asks of every module
                does not load it.
        """
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        with _loading:
            if sys.modules.get(self.__name__) is self:
                del sys.modules[self.__name__]
        module = import_module(self.__name__)
        # Those who imported this one keep it.
        self.__dict__.update(module.__dict__)
        return getattr(module, name)


class _Loaded:
    """Gives out submodules that came with their package while they were looked for.

    ``import package.module`` asks the stand-in for its path, which imports the package, which imports its
    modules: the import system does not look for them again and would make each a second time.
    """

    def __init__(self) -> None:
        self.packages: set[str] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Called by the import system for every module that it does not know."""
        del path, target
        module = sys.modules.get(name)
        if module is None or name.partition(".")[0] not in self.packages:
            return None
        finished: Any = _Finished(module)  # ``importlib.abc`` would import much
        return ModuleSpec(name, finished)


class _Finished:
    """The loader of a module that is complete."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._spec = module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        del spec
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has set the one that led here


_loaded = _Loaded()


def import_on_demand(name: str) -> None:
    """Let ``import name`` cost nothing; does nothing where it has been imported already.

    ``from name import something`` loads it all the same.
    """
    if name not in sys.modules:
        sys.modules[name] = OnDemand(name)
        _loaded.packages.add(name)
        if _loaded not in sys.meta_path:
            sys.meta_path.insert(0, _loaded)
