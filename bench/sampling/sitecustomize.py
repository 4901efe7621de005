"""Makes the daemon say where its time goes; on its ``PYTHONPATH`` only while that is measured.

SIGUSR2 starts and stops: every two milliseconds of processor time the innermost function is noted, as the
package it belongs to. At the stop the counts are written to the file that ``BENCH_SAMPLES`` names.
"""

import collections
import json
import os
import signal
from pathlib import Path
from types import FrameType

EVERY_SECONDS = 0.002
_counts: collections.Counter[str] = collections.Counter()


def package_of(name: str) -> str:
    """``bbhost.session`` of ``bbhost.session.link``; of others the first part."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] == "bbhost" else parts[0]


def _sample(_number: int, frame: FrameType | None) -> None:
    if frame is not None:
        _counts[package_of(str(frame.f_globals.get("__name__", "?")))] += 1


def _toggle(_number: int, _frame: FrameType | None) -> None:
    running = signal.setitimer(signal.ITIMER_PROF, 0)[1] > 0
    if not running:
        _counts.clear()
        signal.setitimer(signal.ITIMER_PROF, EVERY_SECONDS, EVERY_SECONDS)
        return
    target = Path(os.environ["BENCH_SAMPLES"])
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(_counts))
    partial.replace(target)


if "BENCH_SAMPLES" in os.environ:
    signal.signal(signal.SIGPROF, _sample)
    signal.signal(signal.SIGUSR2, _toggle)
