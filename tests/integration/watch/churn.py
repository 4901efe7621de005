"""Changes a tree at random, as a process of its own: ``churn.py ROOT SEED STEPS``."""

import random
import shutil
import sys
from pathlib import Path

NAMES = ["a", "b", "c", "node_modules", "d.log"]


def directories(root: Path) -> list[Path]:
    """All directories of the tree, the root first."""
    found = [root]
    for path in found:
        found.extend(
            entry for entry in path.iterdir()
            if entry.is_dir() and not entry.is_symlink() and entry.name != ".git"
        )  # fmt: skip
    return found


def step(root: Path, outside: Path, rng: random.Random) -> None:
    """Make one change."""
    where = rng.choice(directories(root))
    name = rng.choice(NAMES)
    action = rng.randrange(10)
    if action < 3:
        deep = "/".join(rng.choice(NAMES) for _ in range(rng.randrange(1, 5)))
        (where / deep).mkdir(parents=True, exist_ok=True)
    elif action < 5:
        (where / f"{name}.txt").write_text(str(rng.random()))
    elif action < 7 and where != root:
        target = rng.choice(directories(root)) / name
        if not target.is_relative_to(where):
            Path(where).rename(target)
    elif action == 7 and where != root:
        shutil.rmtree(where)
    elif action == 8 and where != root:
        shutil.rmtree(outside, ignore_errors=True)
        Path(where).rename(outside)
    elif action == 9 and outside.exists():
        Path(outside).rename(where / name)


def main(root: Path, seed: int, steps: int) -> None:
    """Make some changes; those that cannot be made are left out."""
    rng = random.Random(seed)
    outside = root.parent / f"outside-{seed}"
    for _ in range(steps):
        try:
            step(root, outside, rng)
        except OSError:
            continue


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
