"""Modules that are imported when something of them is used."""

import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest

from bbhost.toolkit.on_demand import OnDemand, import_on_demand

NAME = "colorsys"
"""A module of the standard library that nothing here uses."""


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, NAME, raising=False)


@pytest.mark.usefixtures("absent")
def test_importing_it_loads_nothing_and_using_it_does() -> None:
    import_on_demand(NAME)
    module = import_module(NAME)
    assert type(module) is OnDemand
    assert module.rgb_to_hsv(0, 0, 0) == (0, 0, 0)
    assert type(sys.modules[NAME]) is ModuleType
    assert module.hsv_to_rgb is sys.modules[NAME].hsv_to_rgb, "those who imported it have the same"


@pytest.mark.usefixtures("absent")
def test_what_is_not_in_it_is_an_attribute_error() -> None:
    import_on_demand(NAME)
    module = sys.modules[NAME]
    with pytest.raises(AttributeError):
        _ = module.nothing_of_that_name


@pytest.mark.usefixtures("absent")
def test_what_is_there_already_stays() -> None:
    module = import_module(NAME)
    import_on_demand(NAME)
    assert sys.modules[NAME] is module


@pytest.mark.slow
@pytest.mark.parametrize(
    "use",
    [
        "from asyncio import run",
        "import asyncio.exceptions",
        "from asyncio.exceptions import CancelledError",
        "import asyncio; asyncio.run",
    ],
)
def test_a_package_comes_whole_and_once_however_it_is_used(use: str) -> None:
    program = (
        "from bbhost.toolkit.on_demand import import_on_demand; import_on_demand('asyncio');"
        f"{use}; import asyncio, asyncio.exceptions as e, sys; asyncio.run(asyncio.sleep(0));"
        "assert e.CancelledError is asyncio.CancelledError;"
        "assert e.__spec__.origin.endswith('exceptions.py'), e.__spec__;"
        "assert sys.modules['asyncio.exceptions'] is e;"
        "print(asyncio.events.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "asyncio.events"
