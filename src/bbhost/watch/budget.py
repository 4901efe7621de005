"""How many kernel watches the service may use."""

from pathlib import Path

from bbhost.watch.values import WatchSettings

_LIMIT_FILE = Path("/proc/sys/fs/inotify/max_user_watches")
_STOCK_LIMIT = 8_192
"""The kernel's default where the true one cannot be read."""


def watch_limit() -> int:
    """Return the kernel's limit of inotify watches for this user."""
    try:
        return int(_LIMIT_FILE.read_text())
    except (OSError, ValueError):
        return _STOCK_LIMIT


def watch_budget(settings: WatchSettings) -> int:
    """Return the most kernel watches that the service may use."""
    if settings.budget_watches is not None:
        return settings.budget_watches
    return int(watch_limit() * settings.budget_share)
