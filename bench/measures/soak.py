"""Create, work, destroy, many times over many slots: everything must return to where it began."""

import random

import trio
from attrs import asdict, define, field, frozen

from bench import meters
from bench.fixtures import git, make_untracked
from bench.rig import Rig

SLOTS = 300
"""Environments that live at once, where there are lives enough for some turns of them."""
TURNS = 4
WORKERS = 8
"""Users who work at a time."""
LIMITS = {"memory_mib": 4, "threads": 2, "descriptors": 2}
"""Growth that is no leak: threads of a pool and what they hold come and go. Of the rest: none."""
EMPTY_SECONDS = 600.0
"""Longest wait for the trash to be emptied, which has no hurry; on a busy machine it takes minutes."""


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
    """Destroy what there is, then ``count`` lives of environments over the slots."""
    for environment_id in list(rig.ids):
        await rig.destroy(environment_id)
    slots = max(2, min(SLOTS, count // TURNS))
    # One turn first: threads, pools and caches that are made once and stay.
    await _Soak(rig, slots, random.Random(0)).run(slots)
    before = await holdings(rig)
    await _Soak(rig, slots, random.Random(1)).run(count)
    after = await holdings(rig)
    complaints = await doctor_complaints(rig)
    report = rig.report
    report.add("soak.lives", count, "environments", note=f"over {slots} slots")
    for name, value in asdict(after).items():
        grown = value - asdict(before)[name]
        limit = LIMITS.get(name, 0)
        report.add(f"soak.{name}_grown", grown, "", limit=limit, note=f"to {value:.6g}")
    note = "; ".join(complaints)[:200]
    report.add("soak.doctor_findings", len(complaints), "", limit=0, note=note)


@define(eq=False)
class _Soak:
    """Lives that overlap: as many as there are slots, each in the hands of one user at a time."""

    rig: Rig
    slots: int
    chance: random.Random
    _left: int = 0
    """Lives that have not begun."""
    _taken: int = 0
    """Slots with an environment, those in somebody's hands included."""
    _idle: list[str] = field(factory=list)

    async def run(self, count: int) -> None:
        """Have ``count`` lives; all have ended when this returns."""
        self._left = count
        async with trio.open_nursery() as users:
            for _ in range(WORKERS):
                users.start_soon(self._use)

    async def _use(self) -> None:
        while self._left or self._idle:
            if self._left and self._taken < self.slots:
                self._left -= 1
                self._taken += 1
                environment_id = self.rig.new_id()
                await self.rig.provision(environment_id)
                self._idle.append(environment_id)
            elif self._idle:
                place = self.chance.randrange(len(self._idle))
                await self._turn(self._idle.pop(place))
            else:
                return  # the others have what is left in their hands

    async def _turn(self, environment_id: str) -> None:
        """Work in one; then it ends, or is laid aside for another turn."""
        await _work(self.rig, environment_id, self.chance)
        if self._left and self.chance.randrange(3) == 0:
            self._idle.append(environment_id)
            return
        await self.rig.destroy(environment_id)
        self._taken -= 1


async def _work(rig: Rig, environment_id: str, chance: random.Random) -> None:
    path = rig.path(environment_id)
    for _ in range(chance.randrange(4)):
        match chance.randrange(5):
            case 0:
                (path / "d0" / "f0.txt").write_text(f"{chance.random()}\n")
            case 1:
                if not (path / "untracked").exists():
                    make_untracked(path, chance.randrange(1, 20))
            case 2:
                await trio.to_thread.run_sync(
                    git, path, "commit", "-q", "--allow-empty", "-m", "work"
                )
            case 3:
                (path / f"note{chance.randrange(3)}.txt").write_text(f"{chance.random()}\n")
                await rig.run(rig.command("workspace.commit", environment_id, message="a note"))
            case _:
                (path / f"new{chance.randrange(3)}" / "deep").mkdir(parents=True, exist_ok=True)
        await rig.run(rig.command("workspace.status", environment_id))


async def doctor_complaints(rig: Rig) -> list[str]:
    """Warnings and errors of the daemon's doctor; the disk's room is not the daemon's doing."""
    found = await rig.daemon.control("GET", "/doctor")
    return [
        f"{one['check']}: {one['what']}"
        for one in found["findings"]
        if one["severity"] in {"warning", "error"} and one["check"] != "disk"
    ]


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
