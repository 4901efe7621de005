"""Watching directories: who is told, by which backend, and how certain that is.

``service`` is the entrance and ``watch`` what callers hold. Behind it: ``inotify`` (with ``kernel``,
``table``, ``areas``, ``tree_area``, ``git_areas``, ``survey``, ``scanning``), ``polling`` (with
``signature``) and ``notifier`` (with ``changed_paths``). ``debounce``, ``attempts`` and ``git_names``
are pure.
"""

from bbhost.watch.service import WatchService, make_watch_service
from bbhost.watch.values import (
    ChangeBatch,
    Coverage,
    IgnoreOracle,
    WatchBackend,
    WatchSettings,
    WatchStatistics,
    WatchTarget,
)
from bbhost.watch.watch import Watch

__all__ = [
    "ChangeBatch",
    "Coverage",
    "IgnoreOracle",
    "Watch",
    "WatchBackend",
    "WatchService",
    "WatchSettings",
    "WatchStatistics",
    "WatchTarget",
    "make_watch_service",
]
