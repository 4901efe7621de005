"""The import rules of ARCHITECTURE.md, as assertions over the source."""

import ast
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "bbhost"

LEVELS = {
    "errors": 0,
    "domain": 0,
    "contract": 1,
    "lifecycle": 1,
    "toolkit": 1,
    "processes": 1,
    "journal": 2,
    "workspace": 2,
    "watch": 2,
    "terminals": 2,
    "agents": 2,
    "environment": 3,
    "session": 3,
    "hub": 3,
    "reconciler": 4,
    "daemon": 5,
    "cli": 6,
}
"""Arrows go down only; packages of one level do not import each other."""

SIBLINGS_ALLOWED = {
    ("domain", "errors"),
    ("processes", "toolkit"),
}
"""Arrows within a level, each for a reason given in ARCHITECTURE.md."""

ONLY_IN = {
    "cattrs": {"contract/codec.py", "journal/records.py"},
    "statemachine": {"lifecycle/"},
    "trio_websocket": {"session/link.py", "cli/"},
    "httpx": {"cli/"},
    "watchfiles": {"watch/"},
    "inotify_simple": {"watch/"},
    "starlette": {"hub/"},
    "hypercorn": {"hub/"},
    "typer": {"cli/"},
    "rich": {"cli/"},
    "rapidfuzz": {"workspace/files/"},
    "sqlite3": {"journal/", "hub/"},
    "subprocess": {"processes/", "cli/"},
    "asyncio": set(),
    "anyio": set(),
    "requests": set(),
}
"""Where a library may be imported; a path that ends in ``/`` means anywhere below it."""

ONE_MODULE = {"watchfiles": "watch/", "inotify_simple": "watch/"}
"""Libraries that exactly one module of a package may import."""


@cache
def imports_of(path: Path) -> list[tuple[str, int]]:
    """Every imported module of a file with its line, wherever the import stands."""
    found: list[tuple[str, int]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found.append((node.module, node.lineno))
    return found


FILES = sorted(SOURCE.rglob("*.py"))


def package_of(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


@pytest.mark.slow
def test_arrows_go_down_only() -> None:
    """A module imports packages of lower levels, and its own."""
    wrong = [
        f"{path.relative_to(SOURCE)}:{line} imports {module}"
        for path in FILES
        for module, line in imports_of(path)
        if not is_allowed(package_of(path), module)
    ]
    assert wrong == []


def is_allowed(package: str, module: str) -> bool:
    """Whether a module of ``package`` may import ``module``."""
    if package in {"__init__", "__main__"} or not module.startswith("bbhost."):
        return True
    target = module.split(".")[1]
    return (
        target == package
        or LEVELS[target] < LEVELS[package]
        or (package, target) in SIBLINGS_ALLOWED
    )


@pytest.mark.slow
def test_libraries_stay_where_they_belong() -> None:
    """Each library has its place, so that replacing one is a change of one place."""
    wrong = [
        f"{path.relative_to(SOURCE)}:{line} imports {module}"
        for path in FILES
        for module, line in imports_of(path)
        if not is_in_its_place(path.relative_to(SOURCE).as_posix(), module)
    ]
    assert wrong == []


def is_in_its_place(relative: str, module: str) -> bool:
    """Whether the file at ``relative`` may import the library of ``module``."""
    places = ONLY_IN.get(module.split(".")[0])
    return places is None or any(
        relative.startswith(place) if place.endswith("/") else relative == place
        for place in places
    )


@pytest.mark.parametrize(("library", "package"), ONE_MODULE.items())
def test_one_module_only(library: str, package: str) -> None:
    """The library is imported by at most one module of its package."""
    users = [
        path
        for path in (SOURCE / package).rglob("*.py")
        if any(module.split(".")[0] == library for module, _ in imports_of(path))
    ]
    assert len(users) <= 1, users


def test_every_package_has_a_level() -> None:
    """A new package must say where it stands."""
    packages = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").is_file()}
    assert packages <= set(LEVELS)


def test_lifecycle_has_no_effects() -> None:
    """State tables neither await nor touch clocks, disks or processes."""
    for path in (SOURCE / "lifecycle").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)]
        modules = {module.split(".")[0] for module, _ in imports_of(path)}
        assert not modules & {"trio", "time", "os", "pathlib", "subprocess", "socket"}, path
