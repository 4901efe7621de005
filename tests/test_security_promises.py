"""SECURITY.md names a test for each promise; each of them exists."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text())


def test_every_promise_names_a_test_that_exists() -> None:
    """A test that is renamed or removed takes its promise along, or the document is wrong."""
    assert len(NAMED) > 40
    missing = []
    for path, name in NAMED:
        file = ROOT / path
        tree = ast.parse(file.read_text(encoding="utf-8")) if file.exists() else ast.parse("")
        functions = {
            node.name
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        if name not in functions:
            missing.append(f"{path}::{name}")
    assert missing == []
