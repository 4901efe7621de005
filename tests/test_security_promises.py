"""SECURITY.md names a test for each promise; each of them exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text())


@pytest.mark.slow
def test_every_promise_names_a_test_that_exists() -> None:
    """A test that is renamed or removed takes its promise along, or the document is wrong."""
    assert len(NAMED) > 40
    there = {path: functions_of(ROOT / path) for path, _ in NAMED}
    assert [f"{path}::{name}" for path, name in NAMED if name not in there[path]] == []


@cache
def functions_of(file: Path) -> set[str]:
    """The functions that stand at the top of a file; none when it does not exist."""
    tree = ast.parse(file.read_text(encoding="utf-8")) if file.exists() else ast.parse("")
    return {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
