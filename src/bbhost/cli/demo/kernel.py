"""What the kernel says of a process, whatever the process itself believes."""

import os
from pathlib import Path


def inotify_watches(pid: int) -> int | None:
    """Return how many inotify watches the kernel holds for a process; None where it cannot say."""
    descriptors = Path(f"/proc/{pid}/fdinfo")
    if not descriptors.is_dir():
        return None
    count = 0
    for descriptor in descriptors.iterdir():
        try:
            count += sum(
                line.startswith("inotify wd:") for line in descriptor.read_text().splitlines()
            )
        except OSError:
            continue
    return count


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
    except OSError:
        return False
    else:
        return state not in {"Z", "X"}
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
