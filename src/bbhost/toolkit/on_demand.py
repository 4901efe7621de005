"""Modules that are imported when something of them is used, and not before.

For what a library imports at its top and this program never comes to use. (The standard library's
``LazyLoader`` is of no help: ``import`` itself looks at the module, which loads it, before Python 3.12.)
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


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
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        module = import_module(self.__name__)
        # Those who imported this one keep it.
        self.__dict__.update(module.__dict__)
        return getattr(module, name)


def import_on_demand(name: str) -> None:
    """Let ``import name`` cost nothing; does nothing where it has been imported already.

    ``from name import something`` loads it all the same.
    """
    if name not in sys.modules:
        sys.modules[name] = OnDemand(name)
