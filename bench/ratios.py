"""What is set against which yardstick, and how the result is held against an earlier run.

Ratios within one run mean something on any machine; CPU against CPU also on a busy one.
"""

import json
from pathlib import Path

from bench.report import Report

RATIOS: dict[str, tuple[str, str]] = {
    "cached status / git status, CPU": ("cached.cpu", "yard.git_status_cpu"),
    "poll / naive poll, CPU": ("poll.cpu_each", "yard.naive_poll_cpu_each"),
    "cached status / git status with untracked cache, CPU": (
        "cached.cpu",
        "yard.git_status_untracked_cache_cpu",
    ),
    "provision / git worktree add, CPU": (
        "provision.cpu_each_with_git",
        "yard.worktree_add_cpu",
    ),
    "destroy / git worktree remove": ("destroy.acknowledged", "yard.worktree_remove"),
    "diff / git diff, CPU": ("diff.cpu_with_git", "yard.git_diff_cpu"),
    "memory per environment / watcher": ("memory.each", "yard.watcher_memory_each"),
    "status after a change / git status": ("change.status_round_trip", "yard.git_status"),
}

COUNTED = (
    "provision.git_each",
    "provision.growth",
    "cached.git",
    "poll.git",
    "change.status_git",
    "change.status_with_base_git",
    "notify.git_each",
    "commit.git",
    "diff.git",
    "destroy.git_each",
    "idle.inotify_instances",
    "leftovers.alive",
    "memory.start",
)
"""Rows that are compared as they are: counts and sizes, which do not depend on the machine's speed."""

TOLERANCE = 2.0
"""A ratio may be this many times its baseline before it counts as a regression."""
COUNT_TOLERANCE = 1.3
SLACK = 0.5
"""For counts: half a process more is not a regression."""


def load_baseline(path: Path) -> dict[str, float]:
    """What an earlier run found."""
    values: dict[str, float] = json.loads(path.read_text())
    return values


def baseline_of(report: Report) -> dict[str, float]:
    """What of this run a later one is held against."""
    counts = {key: report.rows[key].value for key in COUNTED if key in report.rows}
    return {key: round(value, 4) for key, value in {**report.ratios, **counts}.items()}


def find_regressions(report: Report, baseline: dict[str, float]) -> list[str]:
    """Say what has become worse than the tolerance allows; one sentence each."""
    found = []
    for key, now in baseline_of(report).items():
        before = baseline.get(key)
        if before is None:
            continue
        limit = before * COUNT_TOLERANCE + SLACK if key in COUNTED else before * TOLERANCE
        if now > limit:
            found.append(f"{key}: {now:.3g}, was {before:.3g}, allowed {limit:.3g}")
    return found
