"""The import rules of ARCHITECTURE.md, as assertions over the source."""

import ast
from collections.abc import Iterator
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


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    """Every imported module of a file with its line, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.module, node.lineno


FILES = sorted(SOURCE.rglob("*.py"))


def package_of(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_arrows_go_down_only(path: Path) -> None:
    """A module imports packages of lower levels, and its own."""
    package = package_of(path)
    if package in {"__init__", "__main__"}:
        return
    for module, line in imports_of(path):
        if not module.startswith("bbhost."):
            continue
        target = module.split(".")[1]
        allowed = (
            target == package
            or LEVELS[target] < LEVELS[package]
            or (package, target) in SIBLINGS_ALLOWED
        )
        assert allowed, f"{path.relative_to(SOURCE)}:{line} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_libraries_stay_where_they_belong(path: Path) -> None:
    """Each library has its place, so that replacing one is a change of one place."""
    relative = path.relative_to(SOURCE).as_posix()
    for module, line in imports_of(path):
        places = ONLY_IN.get(module.split(".")[0])
        if places is None:
            continue
        fits = any(
            relative.startswith(place) if place.endswith("/") else relative == place
            for place in places
        )
        assert fits, f"{relative}:{line} imports {module}"


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
