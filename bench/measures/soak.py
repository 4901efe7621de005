"""Create, work, destroy, many times over a few slots: everything must return to where it began."""

import random

import trio
from attrs import asdict, frozen

from bench import meters
from bench.fixtures import git, make_untracked
from bench.rig import Rig

SLOTS = 8
LIMITS = {"memory_mib": 4, "threads": 2, "descriptors": 2}
"""Growth that is no leak: threads of a pool and what they hold come and go. Of the rest: none."""
EMPTY_SECONDS = 60.0


@frozen
class Holdings:
    """What the daemon and the disk hold."""

    descriptors: int
    threads: int
    watches: int
    memory_mib: float
    registrations: int
    entries: int
    """Below the worktrees' and the trash's directories."""


async def measure_soak(rig: Rig, count: int) -> None:
    """Destroy what there is, then ``count`` lives of environments over a few slots."""
    for environment_id in list(rig.ids):
        await rig.destroy(environment_id)
    # One life first: threads, pools and caches that are made once and stay.
    await _lives(rig, SLOTS, random.Random(0))
    before = await holdings(rig)
    await _lives(rig, count, random.Random(1))
    after = await holdings(rig)
    report = rig.report
    report.add("soak.lives", count, "environments")
    for name, value in asdict(after).items():
        grown = value - asdict(before)[name]
        limit = LIMITS.get(name, 0)
        report.add(f"soak.{name}_grown", grown, "", limit=limit, note=f"to {value:.6g}")


async def _lives(rig: Rig, count: int, chance: random.Random) -> None:
    left = list(range(count))

    async def slot() -> None:
        while left:
            left.pop()
            await _live(rig, chance)

    async with trio.open_nursery() as nursery:
        for _ in range(min(SLOTS, count)):
            nursery.start_soon(slot)


async def _live(rig: Rig, chance: random.Random) -> None:
    environment_id = rig.new_id()
    await rig.provision(environment_id)
    path = rig.path(environment_id)
    for _ in range(chance.randrange(4)):
        match chance.randrange(4):
            case 0:
                (path / "d0" / "f0.txt").write_text(f"{chance.random()}\n")
            case 1:
                if not (path / "untracked").exists():
                    make_untracked(path, chance.randrange(1, 20))
            case 2:
                await trio.to_thread.run_sync(
                    git, path, "commit", "-q", "--allow-empty", "-m", "work"
                )
            case _:
                (path / f"new{chance.randrange(3)}" / "deep").mkdir(parents=True, exist_ok=True)
        await rig.run(rig.command("workspace.status", environment_id))
    await rig.destroy(environment_id)


async def holdings(rig: Rig) -> Holdings:
    """Read them once the daemon is at rest and the trash is empty."""
    await rig.settle()
    places = [rig.data_dir / "worktrees", rig.data_dir / "trash"]

    def entries() -> int:
        return sum(len(list(place.iterdir())) for place in places if place.exists())

    with trio.move_on_after(EMPTY_SECONDS):
        while entries():
            await trio.sleep(0.1)
    # Threads of the pool end after ten idle seconds.
    with trio.move_on_after(15):
        while meters.threads(rig.pid) > 3:
            await trio.sleep(0.2)
    return Holdings(
        descriptors=meters.open_files(rig.pid),
        threads=meters.threads(rig.pid),
        watches=meters.inotify(rig.pid)[1],
        memory_mib=meters.resident_mib(rig.pid),
        registrations=git(rig.repo, "worktree", "list", "--porcelain").count("worktree ") - 1,
        entries=entries(),
    )
