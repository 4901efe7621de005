"""The bench runs, says what it should, and its soak finds nothing left behind. Nothing is timed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench.__main__ import BASELINE
from bench.plots import draw_series
from bench.ratios import COUNTED, RATIOS, find_regressions, load_baseline
from bench.report import Report

ROOT = Path(__file__).parents[2]


def run_bench(tmp_path: Path, *args: str) -> dict[str, Any]:
    """Run it as a person would; return what it wrote."""
    result = tmp_path / "result.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench", *args, "--json", str(result)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    data: dict[str, Any] = json.loads(result.read_text())
    return data


@pytest.mark.slow
def test_the_runner_works(tmp_path: Path) -> None:
    """With three environments: rows, counts that do not depend on the machine, and charts."""
    plots = tmp_path / "plots"
    what = ("provision", "memory", "cached", "poll", "notify", "diff", "destroy", "leftovers")
    data = run_bench(tmp_path, *what, "-n", "3", "--svg", str(plots))
    rows = {row["key"]: row for row in data["rows"]}
    for key in ("provision.git_each", "cached.git", "poll.git", "diff.git", "leftovers.alive"):
        assert rows[key]["verdict"] == "met", rows[key]
    assert rows["memory.loaded"]["value"] > 10
    assert "</svg>" in (plots / "notification-ms.svg").read_text()


@pytest.mark.slow
def test_nothing_is_left_after_many_lives(tmp_path: Path) -> None:
    """Descriptors, threads, watches, memory, registrations and files return."""
    data = run_bench(tmp_path, "soak", "-n", "20")
    grown = [
        row for row in data["rows"] if row["key"].startswith("soak.") and row["limit"] is not None
    ]
    assert len(grown) == 7, "six of what is held, and the doctor's findings"
    assert not [row for row in grown if row["verdict"] != "met"]


def test_a_regression_is_one_beyond_the_tolerance() -> None:
    """Ratios may double; counts may not grow by a process."""
    report = Report(3)
    report.add("poll.git", 1, "processes")
    report.ratios["a"] = 1.9
    report.ratios["b"] = 2.1
    found = find_regressions(report, {"poll.git": 0, "a": 1.0, "b": 1.0, "gone": 5.0})
    assert [sentence.split(":")[0] for sentence in found] == ["b", "poll.git"]


def test_the_stored_table_is_one_of_rows_that_exist() -> None:
    """What ``--check`` compares with; a row that was renamed would never be found worse."""
    known = {*RATIOS, *COUNTED}
    assert set(load_baseline(BASELINE)) == known


def test_charts_are_the_same_for_the_same_numbers() -> None:
    """And hold no more than the numbers."""
    assert draw_series("x", [1.0, 2.0], "n") == draw_series("x", [1.0, 2.0], "n")
    assert draw_series("x", [1.0, 2.0], "n").count("polyline") == 1
