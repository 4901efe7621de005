"""One host, its server, its users, and the daemons that live on it one after another."""

import logging
from collections.abc import Callable

import trio
from attrs import define, field

from bbhost.domain.environment import EnvironmentState, TeardownCause
from bbhost.domain.workspace import WorkspaceKind
from bbhost.errors import PathNotFoundError
from tests.simulation.actions import (
    FAULTY_SEAMS,
    MODES,
    PARTIAL_MODES,
    RATES,
    SLOTS,
    Kind,
    Slot,
    Step,
)
from tests.simulation.chance import Chance
from tests.simulation.daemon import SimDaemon
from tests.simulation.disk import Disk, Files, Place
from tests.simulation.laws import Laws
from tests.simulation.life import Host, KilledError, Life
from tests.simulation.server import SimServer

QUIET_SECONDS = 7_200.0
"""Within this virtual time everything that was begun must have ended once all is well again."""
STOP_SECONDS = 60.0
CRASH_SEAMS = (
    "provision",
    "hook",
    "boundary.end",
    "rescue",
    "trash",
    "trash.done",
    "deregister",
    "rollback",
    "journal.save",
    "journal.written",
    "journal.settle",
)
WATCHER_DIED = "the watcher died"


@define(eq=False, repr=False)
class Counts:
    """What a schedule went through."""

    steps: int = 0
    crashes: int = 0
    power_failures: int = 0
    seams: int = 0
    commands: int = 0


OF_GUESTS = {
    "owner of an environment crashed",
    "something failed while its environment was being left",  # with a crash at the same moment
}
"""What is logged of a defect in a guest."""


class _Defects(logging.Handler):
    """Defects that the daemon caught and logged: nothing here may be one, but for broken guests."""

    def __init__(self, laws: Laws) -> None:
        super().__init__(logging.ERROR)
        self._laws = laws

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info is None:
            return
        if record.getMessage() in OF_GUESTS and self._laws.guests_broken > 0:
            return
        if str(record.exc_info[1]) == WATCHER_DIED:
            return
        self._laws.require(False, f"a defect: {record.getMessage()}: {record.exc_info[1]!r}")


@define(eq=False, repr=False)
class Simulation:
    """Runs steps. Made by ``run_simulation``."""

    chance: Chance
    nursery: trio.Nursery
    counts: Counts = field(factory=Counts)
    disk: Disk = field(factory=Disk)
    laws: Laws = field(init=False)
    host: Host = field(init=False)
    server: SimServer = field(init=False)
    daemon: SimDaemon | None = None
    _scope: trio.CancelScope = field(factory=trio.CancelScope)
    _ended: trio.Event = field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.laws = Laws(self.disk)
        self.host = Host(self.chance, self.laws, self.disk)
        self.host.on_crash = self.kill
        self.laws.processes = lambda owner: list(self.host.processes.get(owner, ()))
        self.server = SimServer(self.chance)
        self.disk.change(
            lambda files: files.places.__setitem__("/home/dev/repo", Place(False, False))
        )
        self.disk.change(lambda files: files.written.__setitem__("/home/dev/repo", 0))
        self.disk.sync()

    # --- the daemon's lives ----------------------------------------------------------------------

    async def start(self) -> None:
        """Start a daemon on what is on disk."""
        life = Life(self.host)
        daemon = SimDaemon(life, self.server)
        self._scope, self._ended = trio.CancelScope(), trio.Event()
        self.laws.take_lists(None, ())
        await self.nursery.start(self._live, daemon, self._scope, self._ended)

    async def _live(
        self,
        daemon: SimDaemon,
        scope: trio.CancelScope,
        ended: trio.Event,
        task_status: trio.TaskStatus[None],
    ) -> None:
        self.daemon = daemon
        task_status.started()  # it may be killed while it starts
        try:
            with scope:
                await daemon.run()
        except* (KilledError, Exception):
            if not daemon.life.dead:
                raise
        finally:
            daemon.life.dead = True
            self.laws.alive.clear()
            self.laws.busy.clear()
            self.laws.stages.clear()
            ended.set()

    def kill(self) -> None:
        """The daemon is gone from this very step on."""
        if self.daemon is not None and not self.daemon.life.dead:
            self.counts.crashes += 1
            self.laws.note("KILLED", "")
            self.daemon.life.dead = True
            self._scope.cancel()

    async def revive(self) -> None:
        """Start the daemon again if it has been killed."""
        while self.daemon is None or self.daemon.life.dead:
            await self._ended.wait() if self.daemon is not None else None
            self.host.processes.clear()
            await self.start()

    # --- steps -------------------------------------------------------------------------------------

    async def apply(self, step: Step) -> None:
        """Do one step, let the world run, and look whether a law is broken."""
        self.counts.steps += 1
        self.laws.note("STEP", str(step))
        await self.revive()
        slot = SLOTS[step.slot % len(SLOTS)]
        await _STEPS[step.kind](self, slot, step)
        for _ in range(step.ticks):
            await trio.lowlevel.checkpoint()
        if step.seconds:
            await trio.sleep(step.seconds)
        self.laws.check()

    def _order(self, type_: str, body: object) -> None:
        self.counts.commands += 1
        self.server.order(type_, body)  # type: ignore[arg-type]

    async def _provision(self, slot: Slot, _step: Step) -> None:
        self._order("environment.provision", slot.provision())

    async def _provision_otherwise(self, slot: Slot, _step: Step) -> None:
        self._order("environment.provision", slot.provision(otherwise=True))

    async def _destroy(self, slot: Slot, _step: Step) -> None:
        self._order("environment.destroy", slot.destroy())

    async def _status(self, slot: Slot, _step: Step) -> None:
        self._order("workspace.status", slot.status())

    async def _guest(self, slot: Slot, step: Step) -> None:
        assert self.daemon is not None
        self.daemon.open_guest(slot.environment_id, slot.context, step.choice * 200)

    async def _break_guest(self, slot: Slot, _step: Step) -> None:
        assert self.daemon is not None
        self.daemon.open_guest(slot.environment_id, slot.context, -1.0)

    async def _write(self, slot: Slot, _step: Step) -> None:
        path = slot.path
        place = self.disk.files.places.get(path)
        if place is None:
            return
        content = place.content + 1

        def write(files: Files) -> None:
            files.write(path, content=content)
            if path in files.written:
                files.written[path] = content

        self.disk.change(write)
        self.laws.untold[slot.environment_id] = content
        for watch in self._watches():
            if watch.path == path:
                watch.queue(work=1)

    async def _commit(self, slot: Slot, _step: Step) -> None:
        path = slot.path
        place = self.disk.files.places.get(path)
        if place is None:
            return
        tip = place.tip + 1
        self.disk.change(lambda files: files.write(path, tip=tip))
        for watch in self._watches():
            watch.queue(refs=1)

    def _watches(self):
        return [] if self.daemon is None else self.daemon.workspaces.watches

    async def _overflow(self, _slot: Slot, _step: Step) -> None:
        for watch in self._watches():
            watch.queued_work = watch.queued_refs = 0
            watch.queue(overflow=True)

    async def _kill_watch(self, slot: Slot, step: Step) -> None:
        failure: Exception = OSError(28, "no space left on device")
        if step.choice < 0.3:
            failure = RuntimeError(WATCHER_DIED)
        for watch in self._watches():
            if watch.path == slot.path:
                watch.die(failure)

    async def _cut(self, _slot: Slot, _step: Step) -> None:
        self.server.cut()

    async def _connect(self, _slot: Slot, step: Step) -> None:
        self.server.cut()
        for _ in range(int(step.choice * 6)):
            await trio.lowlevel.checkpoint()
        self.server.connect(MODES[int(step.choice * 997) % len(MODES)])

    async def _contradict(self, _slot: Slot, step: Step) -> None:
        """A list that leaves ids out, and then the orders that make it untrue while it is applied."""
        self.server.cut()
        await trio.lowlevel.checkpoint()
        self.server.connect(PARTIAL_MODES[int(step.choice * 997) % len(PARTIAL_MODES)])
        for _ in range(int(step.choice * 60)):
            await trio.lowlevel.checkpoint()
        for slot in SLOTS:
            if slot.environment_id in self.server.live:
                self._order("environment.provision", slot.provision())

    async def _repeat(self, _slot: Slot, _step: Step) -> None:
        self.server.repeat()

    async def _crash(self, _slot: Slot, step: Step) -> None:
        """Kill the daemon now, at one of the next seams, or at the next of a certain kind."""
        if step.choice < 0.2:
            self.kill()
        elif step.choice < 0.7:
            self.host.crash_at = CRASH_SEAMS[int(step.choice * 997) % len(CRASH_SEAMS)]
        else:
            self.host.crash_in = int(step.choice * 40)

    async def _power_failure(self, _slot: Slot, step: Step) -> None:
        self.kill()
        self.counts.power_failures += 1
        self.disk.lose_power(int(step.choice * (self.disk.unsynced + 1)))
        self.laws.note("POWER FAILURE", "")
        self.laws.consistent()

    async def _faults(self, _slot: Slot, step: Step) -> None:
        for _ in range(1 + self.chance.upto(2)):
            self.host.fault_rates[self.chance.pick(FAULTY_SEAMS)] = self.chance.pick(RATES)
        self.host.slow_rate = self.chance.pick((0.0, 0.02, 0.2))
        self.server.lose_rate = self.chance.pick((0.0, 0.0, 0.5))

    async def _calm(self, _slot: Slot, _step: Step) -> None:
        self.calm()

    def calm(self) -> None:
        """From here on the world works."""
        self.host.fault_rates.clear()
        self.host.slow_rate = 0.0
        self.host.crash_in = self.host.crash_at = None
        self.server.lose_rate = 0.0

    async def _wait(self, _slot: Slot, step: Step) -> None:
        await trio.sleep(step.choice * 20)

    async def _remove_by_hand(self, slot: Slot, _step: Step) -> None:
        path = slot.path
        if path in self.disk.files.places and slot.context.workspace_provision_type is not (
            WorkspaceKind.UNMANAGED
        ):
            self.disk.change(lambda files: files.foreign.__setitem__(path, None))
            self.disk.change(lambda files: files.places.pop(path, None))
            self.disk.sync()
            for watch in self._watches():
                if watch.path == path:
                    watch.die(PathNotFoundError(f"{path} has been removed"))

    async def _leave_behind(self, slot: Slot, _step: Step) -> None:
        """A workspace of an earlier daemon, of which this journal knows nothing."""
        path, kind = slot.path, slot.context.workspace_provision_type
        if slot.environment_id in self.disk.rows.environments or kind is WorkspaceKind.UNMANAGED:
            return
        known = [*self.server.open_commands.values(), *self.server.late.values()]
        if path in self.disk.files.places or any(
            envelope["command"]["environmentId"] == slot.environment_id for envelope in known
        ):
            return
        worktree = kind is WorkspaceKind.MANAGED_WORKTREE
        place = Place(managed=True, worktree=worktree, content=7)
        self.disk.change(lambda files: files.places.__setitem__(path, place))
        if worktree:
            self.disk.change(lambda files: files.registered.__setitem__(path, None))
        self.disk.sync()

    async def _forget(self, slot: Slot, _step: Step) -> None:
        """Do as if the tombstone were old enough to be forgotten."""
        assert self.daemon is not None
        self.daemon.forget(slot.environment_id)

    # --- the end -------------------------------------------------------------------------------------

    async def finish(self) -> None:
        """Everything works again: all that was begun must end, and be as the server was told."""
        self.laws.note("STEP", "all is well again")
        self.calm()
        await self.revive()
        await self._settle_with_server()
        # What the server's list contradicted while it waited for a result heals with the next list.
        await self._settle_with_server()
        assert self.daemon is not None
        self._check_end()
        self.laws.check()
        await self._probe()
        self._scope.cancel()
        with trio.move_on_after(STOP_SECONDS):
            await self._ended.wait()
        self.laws.require(self._ended.is_set(), "the daemon does not stop")
        self.laws.check()

    async def _settle_with_server(self) -> None:
        self.server.cut()
        await trio.sleep(1.0)
        self.server.connect("honest")
        with trio.move_on_after(QUIET_SECONDS) as patience:
            while not self._is_quiet():
                self.laws.check()
                await trio.sleep(5.0)
            await trio.sleep(60.0)
        self.laws.require(not patience.cancelled_caught, f"it does not end: {self._unquiet()}")

    def _unquiet(self) -> list[str]:
        assert self.daemon is not None
        rows = self.disk.rows
        left = [f"command {key}" for key in self.server.open_commands]
        left += [f"result {entry.command_id}" for entry in rows.outbox.values()]
        left += [
            f"{key} {record.state}"
            for key, record in rows.environments.items()
            if record.state in {EnvironmentState.PROVISIONING, EnvironmentState.DESTROYING}
        ]
        return left + [f"busy {owner}" for owner, count in self.laws.busy.items() if count]

    def _is_quiet(self) -> bool:
        return not self._unquiet()

    def _check_end(self) -> None:
        laws, rows = self.laws, self.disk.rows
        assert self.daemon is not None
        supervisor = self.daemon.supervisor
        laws.untouched()
        laws.consistent()
        known = {record.environment_id: record for record in supervisor.records()}
        laws.require(
            known == rows.environments, f"journal {rows.environments} and daemon {known} differ"
        )
        for key, record in rows.environments.items():
            owner = (key, record.incarnation)
            ready = record.state is EnvironmentState.READY
            there = record.path in self.disk.files.places
            watches = [watch for watch in self._watches() if watch.path == record.path]
            laws.require(len(watches) == (1 if ready and there else 0), f"{owner}: {watches}")
            laws.require((supervisor.actor(key) is not None) == ready, f"{owner}: the wrong owner")
            if ready and there and key in laws.untold:
                place = self.disk.files.places[record.path]
                # A power failure may have undone it.
                laws.require(
                    place.content < laws.untold[key], f"nobody was told of a write in {key}"
                )
            if not ready:
                laws.require(not laws.processes(owner), f"{owner}: {laws.processes(owner)}")
                rolled_back = record.cause is TeardownCause.ROLLBACK
                laws.require(
                    not there or key not in self.server.live or rolled_back,
                    f"{key} lives on the server and on disk, and is {record}",
                )
        stale = [o for o, names in laws.alive.items() if names and o[1] != known[o[0]].incarnation]
        laws.require(not stale, f"left over from earlier incarnations: {stale}")

    async def _probe(self) -> None:
        """Whatever is ready still notices a change and answers with it."""
        assert self.daemon is not None
        posts = len(self.daemon.posts)
        probed = []
        for slot in SLOTS:
            record = self.disk.rows.environments.get(slot.environment_id)
            if (
                record is not None
                and record.state is EnvironmentState.READY
                and record.path == slot.path
                and slot.path in self.disk.files.places
            ):
                probed.append(slot.environment_id)
                await self._write(slot, Step(Kind.WRITE))
        await trio.sleep(10.0)
        told = {key for key, _ in self.daemon.posts[posts:]}
        for key in probed:
            self.laws.require(key in told, f"a change of {key} was not told")
        for slot in SLOTS:
            self._order("workspace.status", slot.status())
        await trio.sleep(200.0)
        self.laws.require(not self.server.open_commands, "a status is not answered")
        self.laws.check()


_STEPS: dict[Kind, Callable[..., object]] = {
    Kind.PROVISION: Simulation._provision,
    Kind.PROVISION_OTHERWISE: Simulation._provision_otherwise,
    Kind.DESTROY: Simulation._destroy,
    Kind.STATUS: Simulation._status,
    Kind.GUEST: Simulation._guest,
    Kind.BREAK_GUEST: Simulation._break_guest,
    Kind.WRITE: Simulation._write,
    Kind.COMMIT: Simulation._commit,
    Kind.OVERFLOW: Simulation._overflow,
    Kind.KILL_WATCH: Simulation._kill_watch,
    Kind.CUT: Simulation._cut,
    Kind.CONNECT: Simulation._connect,
    Kind.CONTRADICT: Simulation._contradict,
    Kind.REPEAT: Simulation._repeat,
    Kind.CRASH: Simulation._crash,
    Kind.POWER_FAILURE: Simulation._power_failure,
    Kind.FAULTS: Simulation._faults,
    Kind.CALM: Simulation._calm,
    Kind.WAIT: Simulation._wait,
    Kind.REMOVE_BY_HAND: Simulation._remove_by_hand,
    Kind.LEAVE_BEHIND: Simulation._leave_behind,
    Kind.FORGET: Simulation._forget,
}
