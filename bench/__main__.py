"""``python -m bench``: measure the daemon process and say how it compares."""

import argparse
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from bench.fixtures import isolate_git
from bench.measures.changes import measure_commit, measure_notification
from bench.measures.diffs import measure_diff
from bench.measures.ending import measure_destroy, measure_destroy_all, measure_leftovers
from bench.measures.footprint import measure_idle, measure_memory
from bench.measures.profile import measure_profile
from bench.measures.provisioning import measure_provisioning
from bench.measures.soak import measure_soak
from bench.measures.starting import measure_start
from bench.measures.status import measure_after_change, measure_cached, measure_poll
from bench.measures.terminals import measure_terminal
from bench.measures.threads import measure_flood, measure_threads
from bench.plots import write_plots
from bench.ratios import RATIOS, baseline_of, find_regressions, load_baseline
from bench.report import Report
from bench.rig import Rig, open_rig
from bench.yardsticks import measure_watchers, measure_yardsticks

Measure = Callable[[Rig, int], Awaitable[None]]

MEASURES: dict[str, Measure] = {
    "provision": measure_provisioning,
    "memory": measure_memory,
    "idle": measure_idle,
    "cached": measure_cached,
    "poll": measure_poll,
    "change": measure_after_change,
    "notify": measure_notification,
    "commit": measure_commit,
    "diff": measure_diff,
    "terminal": measure_terminal,
    "threads": measure_threads,
    "flood": measure_flood,
    "start": measure_start,
    "destroy": measure_destroy,
    "leftovers": measure_leftovers,
    "destroy-all": measure_destroy_all,
    "soak": measure_soak,
    "profile": measure_profile,
}
"""In the order in which ``all`` runs them, over one daemon and the same environments."""
ONLY_BY_NAME = {"soak", "profile"}
YARDSTICKS = "yardsticks"
BASELINE = Path(__file__).with_name("baseline.json")


def main(argv: list[str] | None = None) -> int:
    """Run what was asked for; return 1 when something has become worse."""
    options = _parse(argv)
    wanted = list(options.what)
    if "all" in wanted:
        wanted = [YARDSTICKS, *(name for name in MEASURES if name not in ONLY_BY_NAME)]
    report = Report(options.environments)
    with tempfile.TemporaryDirectory(prefix="bbhost-bench-", dir=options.directory) as place:
        root = Path(place).resolve()
        if YARDSTICKS in wanted:
            isolate_git(root)
            measure_yardsticks(root, report)
            measure_watchers(root, report)
        names = [name for name in MEASURES if name in wanted]
        if names:
            trio.run(_measure, root, report, names)
        report.finish(RATIOS)
        return _show(report, options)


async def _measure(root: Path, report: Report, names: list[str]) -> None:
    async with open_rig(root, report) as rig:
        for name in names:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            if name in {"memory", "idle"}:
                await rig.fill(report.environments)
            await MEASURES[name](rig, report.environments)


def _show(report: Report, options: argparse.Namespace) -> int:
    print(report.as_table())
    if options.json:
        Path(options.json).write_text(report.as_json())
    if options.svg:
        write_plots(report.series, Path(options.svg))
    if options.save_baseline:
        BASELINE.write_text(json.dumps(baseline_of(report), indent=1) + "\n")
    if not options.check:
        return 0
    worse = find_regressions(report, load_baseline(BASELINE))
    for sentence in worse:
        print(f"worse: {sentence}")
    return 1 if worse else 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "what",
        nargs="+",
        choices=["all", YARDSTICKS, *MEASURES],
        metavar="WHAT",
        help=f"all (but soak and profile), or any of: {', '.join([YARDSTICKS, *MEASURES])}",
    )
    parser.add_argument("-n", "--environments", type=int, default=100, help="how many (100)")
    parser.add_argument(
        "--directory", help="where to work; a fast local disk (the default: TMPDIR)"
    )
    parser.add_argument("--json", help="write everything to this file")
    parser.add_argument("--svg", help="draw charts into this directory")
    parser.add_argument("--check", action="store_true", help="compare with baseline.json")
    parser.add_argument("--save-baseline", action="store_true", help="write baseline.json")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
