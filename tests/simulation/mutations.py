"""Faults put into the real code by hand: the simulation must find each of them.

``python -m tests.simulation.mutations [--seconds 60] [--only NAME]`` prints a table: the fault, the law
that it broke, after how long and how many schedules.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio
from attrs import evolve, frozen

from bbhost.domain.environment import EnvironmentRecord, EnvironmentState, TeardownCause
from bbhost.domain.ids import EnvironmentId, Incarnation
from bbhost.domain.workspace import AttachSpec, WorkspaceContext, WorkspaceKind
from bbhost.environment import actor as actor_module
from bbhost.environment import destroying, ready
from bbhost.environment.actor import EnvironmentActor
from bbhost.environment.destroying import TEARDOWN, TeardownContext, TeardownProgress, tear_down
from bbhost.environment.handle import ReadyHandle
from bbhost.environment.ready import ReadyWork
from bbhost.environment.session_knowledge import SessionKnowledge
from bbhost.environment.status_cache import StatusCache, _Basis
from bbhost.environment.stay import ReadyStay
from bbhost.environment.supervisor import Supervisor
from bbhost.lifecycle.environment import Decision, EnvironmentCore
from bbhost.reconciler import reconciler as reconciler_module
from bbhost.reconciler.diff import ServerLists, diff_environments
from bbhost.reconciler.reconciler import Reconciler
from bbhost.workspace.status import StatusReading
from tests.simulation.schedule import run_seed

S = EnvironmentState


@contextmanager
def replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    """Put ``value`` in the place of an attribute."""
    if isinstance(owner, type):
        owner = next(one for one in owner.__mro__ if name in one.__dict__)
        before = owner.__dict__[name]
    else:
        before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@frozen
class Mutation:
    """One fault."""

    name: str
    where: Any
    attribute: str
    fault: object

    def applied(self) -> Any:
        """The context in which the code has the fault."""
        return replaced(self.where, self.attribute, self.fault)


@frozen
class Finding:
    """How a fault was found."""

    broken: str | None
    seconds: float
    schedules: int
    seed: int


# --- the faults -----------------------------------------------------------------------------------

_decide = EnvironmentCore.decide
_enter = Supervisor.enter
_attach = Supervisor._attach
_first_record = Supervisor._first_record
_restore = Supervisor.restore
_make_durable = EnvironmentActor._make_durable
_enter_ready = EnvironmentActor._enter_ready


async def _skip_journal(self: Any, decision: Decision, mail: Any) -> bool:
    """Move without having written anything down."""
    view = self._view_after(decision, mail)
    self._core.commit(decision)
    self.durable = view.record
    if decision.target is S.READY:
        self._arriving = view
    else:
        self.view.value = view
    mail.answer(True)
    await trio.lowlevel.checkpoint()
    return True


async def _journal_afterwards(self: Any, decision: Decision, mail: Any) -> bool:
    """The effects begin while the event is still being written."""
    view = self._view_after(decision, mail)
    await _skip_journal(self, decision, mail)
    _supervisor_nursery(self).start_soon(_save_quietly, self._services.journal, view.record)
    return True


async def _save_quietly(journal: Any, record: EnvironmentRecord) -> None:
    try:
        await journal.save_environment(record)
    except Exception:
        return


def _supervisor_nursery(_actor: Any) -> trio.Nursery:
    """The nursery that the present owner's task runs in: it outlives every state."""
    task = trio.lowlevel.current_task()
    assert task.parent_nursery is not None
    return task.parent_nursery


def _ready_outlives(self: Any, _state_work: trio.Nursery) -> None:
    """The work of ready runs beside its state instead of in it."""
    _enter_ready(self, _supervisor_nursery(self))


def _retire_anything(self: Any, event: Any, **facts: Any) -> Decision | None:
    return _decide(self, event, **(facts | {"idle": True}))


def _any_stay(self: Any, event: Any, **facts: Any) -> Decision | None:
    """Every outcome is taken for the present stay's."""
    return _decide(self, event, **(facts | {"stay": self._stay}))


async def _tombstone_first(self: Any, number: int) -> None:
    """The tombstone is written, and then things are taken down."""
    mail = actor_module._Mail(actor_module.EnvironmentEvent.TORN_DOWN, number)
    context = TeardownContext(self.record, self._services, self.boundary)
    owner = trio.lowlevel.current_task().parent_nursery.parent_task
    owner.parent_nursery.start_soon(_tear_down_late, context)
    await self._mail_in.send(mail)


async def _tear_down_late(context: TeardownContext) -> None:
    await tear_down(context, TeardownProgress(), lambda: None)


async def _tear_down_twice(
    context: TeardownContext, progress: TeardownProgress, on_trouble: Callable[[], None]
) -> bool:
    done: list[bool] = []

    async def once() -> None:
        done.append(await tear_down(context, progress, on_trouble))

    async with trio.open_nursery() as both:
        both.start_soon(once)
        both.start_soon(once)
    return all(done)


async def _lifting_enter(
    self: Any, environment_id: EnvironmentId, context: WorkspaceContext
) -> ReadyHandle:
    """A status or a thread brings a tombstoned environment back, as long as there are files."""
    record = self._records.get(environment_id)
    if record is not None and record.state is S.TOMBSTONED and record.files_remain:
        spec = AttachSpec(record.path, record.kind)
        return await self._wait_handle(
            await self._incarnate(_first_record(self, environment_id, spec))
        )
    return await _enter(self, environment_id, context)


async def _touching_enter(
    self: Any, environment_id: EnvironmentId, context: WorkspaceContext
) -> ReadyHandle:
    """A command looks at the disk before it asks whether it may."""
    await self._services.workspaces.exists(context.workspace_path)
    return await _enter(self, environment_id, context)


def _same_incarnation(self: Any, environment_id: EnvironmentId, spec: Any) -> EnvironmentRecord:
    record = _first_record(self, environment_id, spec)
    return evolve(record, incarnation=Incarnation(1))


def _ignore_exclusion(_self: Any, _environment_id: EnvironmentId) -> bool:
    return False


async def _drain_nothing(
    _self: Any, watch: Any, entry: Any, merge_base_branch: str | None
) -> _Basis | None:
    if not watch.is_certain:
        return None
    refs = await watch.read_refs()
    branch = entry.reading.status.branch.current_branch if entry is not None else None
    tip = None if branch is None else refs.heads.get(branch)
    return _Basis(watch.work_marks, refs.default_branch, tip, None)


def _absent_is_empty(
    lists: ServerLists, actual: Any, unreported: frozenset[EnvironmentId] = frozenset()
) -> Any:
    return diff_environments(evolve(lists, live=lists.live or frozenset()), actual, unreported)


def _forget_unreported(
    lists: ServerLists, actual: Any, _unreported: frozenset[EnvironmentId] = frozenset()
) -> Any:
    return diff_environments(lists, actual, frozenset())


def _always_holds(_self: Any, _action: Any) -> bool:
    return True


async def _forget_creating(_self: Any, *_facts: object) -> None:
    await trio.lowlevel.checkpoint()


async def _forgetful_restore(self: Any, records: Any) -> None:
    """Restore takes an unfinished provisioning for a finished one."""
    await _restore(
        self, [evolve(r, state=S.READY) if r.state is S.PROVISIONING else r for r in records]
    )


async def _restore_ready_only(self: Any, records: Any) -> None:
    """Restore leaves unfinished teardowns lying."""
    for record in records:
        if record.state is S.DESTROYING:
            self._records[record.environment_id] = record
        else:
            await _restore(self, [record])


async def _destroy_by_record(
    self: Any, environment_id: EnvironmentId, context: WorkspaceContext
) -> None:
    """Whatever has a record and no owner counts as destroyed; an owner is not waited for."""
    actor = self.actor(environment_id)
    if actor is None:
        await _destroy(self, environment_id, context)
        return
    await actor.ask(actor_module.EnvironmentEvent.DESTROY)


_destroy = Supervisor.destroy


async def _unguarded_call(self: Any, fn: Any, *args: object) -> Any:
    """Calls run where they are asked for, and not within the stay."""
    self.refuse_if_closing()
    return await fn(*args)


async def _watch_once(self: Any) -> None:
    """A watch that has failed is not opened again."""
    try:
        async with self._services.workspaces.open_watch(self._record.path) as watch:
            await self._follow(watch)
    except Exception:
        await trio.sleep_forever()


async def _restart_anything(self: Any, actor: Any) -> None:
    """An owner that ended is started again, whatever has happened meanwhile."""
    record = actor.durable
    try:
        await actor.run()
    except Exception:
        record = actor.durable
    finally:
        self._records[record.environment_id] = actor.durable
        if self._actors.get(record.environment_id) is actor:
            del self._actors[record.environment_id]
    if record.state is S.TOMBSTONED or actor.durable.state is S.TOMBSTONED:
        return
    await trio.sleep(2.0)
    if record.environment_id not in self._actors:
        self._start_owner(record)


async def _forget_anything(self: Any, environment_id: EnvironmentId) -> bool:
    """A tombstone is forgotten although its files are there, or an owner."""
    if environment_id not in self._records:
        return False
    await self._services.journal.forget_environment(environment_id)
    self._records.pop(environment_id, None)
    return True


def _compare_only(previous: str | None, reading: StatusReading) -> bool:
    return previous is not None and previous != reading.fingerprint


def _without_stage(name: str) -> tuple[Any, ...]:
    return tuple(stage for stage in TEARDOWN if stage.name != name)


def _with_rule(name: str, applies: Callable[[EnvironmentRecord], bool]) -> tuple[Any, ...]:
    return tuple(
        evolve(stage, applies=applies) if stage.name == name else stage for stage in TEARDOWN
    )


def _rolls_back_anything(record: EnvironmentRecord) -> bool:
    return record.cause is TeardownCause.ROLLBACK


def _removes_when_retired(record: EnvironmentRecord) -> bool:
    return record.kind is not WorkspaceKind.UNMANAGED and record.cause in {
        TeardownCause.DESTROY,
        TeardownCause.RETIRE,
    }


def _removes_unmanaged(record: EnvironmentRecord) -> bool:
    return record.cause is TeardownCause.DESTROY


MUTATIONS: tuple[Mutation, ...] = (
    Mutation("skip the journal write", EnvironmentActor, "_make_durable", _skip_journal),
    Mutation("journal after the effects", EnvironmentActor, "_make_durable", _journal_afterwards),
    Mutation("do not cancel the ready nursery", EnvironmentActor, "_enter_ready", _ready_outlives),
    Mutation("run calls outside of the stay", ReadyStay, "call", _unguarded_call),
    Mutation("tombstone before teardown", EnvironmentActor, "_work_destroying", _tombstone_first),
    Mutation("tear down twice at once", actor_module, "tear_down", _tear_down_twice),
    Mutation("lift a tombstone on status or thread.start", Supervisor, "enter", _lifting_enter),
    Mutation("look at the disk before refusing", Supervisor, "enter", _touching_enter),
    Mutation("forget the incarnation number", Supervisor, "_first_record", _same_incarnation),
    Mutation("attach an excluded id", SessionKnowledge, "excludes", _ignore_exclusion),
    Mutation("serve the cache without draining", StatusCache, "_basis", _drain_nothing),
    Mutation("forget to look again at idle", EnvironmentCore, "decide", _retire_anything),
    Mutation("absent list as empty", reconciler_module, "diff_environments", _absent_is_empty),
    Mutation(
        "lift what is not reported yet", reconciler_module, "diff_environments", _forget_unreported
    ),
    Mutation("apply actions that are out of date", Reconciler, "_still_holds", _always_holds),
    Mutation("make before it is journalled", EnvironmentActor, "_note_creating", _forget_creating),
    Mutation("roll back without evidence", destroying, "TEARDOWN",
             _with_rule("roll_back", _rolls_back_anything)),
    Mutation("remove what is only retired", destroying, "TEARDOWN",
             _with_rule("move_to_trash", _removes_when_retired)),
    Mutation("remove an unmanaged checkout", destroying, "TEARDOWN",
             _with_rule("move_to_trash", _removes_unmanaged)),
    Mutation("do not rescue", destroying, "TEARDOWN", _without_stage("rescue")),
    Mutation("do not stop processes", destroying, "TEARDOWN", _without_stage("stop_processes")),
    Mutation("do not deregister", destroying, "TEARDOWN", _without_stage("deregister")),
    Mutation("restore half-made as ready", Supervisor, "restore", _forgetful_restore),
    Mutation("answer destroy before it is done", Supervisor, "destroy", _destroy_by_record),
    Mutation("open a failed watch never again", ReadyWork, "run", _watch_once),
    Mutation("tell nothing of the first look", ready, "_is_worth_telling", _compare_only),
    Mutation("forget what is no tombstone", Supervisor, "forget", _forget_anything),
    Mutation("restart an owner from a stale record", Supervisor, "_run_owner", _restart_anything),
)  # fmt: skip

DEFENDED: tuple[Mutation, ...] = (
    Mutation("accept a stale outcome", EnvironmentCore, "decide", _any_stay),
    Mutation("restore no teardown", Supervisor, "restore", _restore_ready_only),
)
"""Faults that other defences make good, so that they are rarely or never found: see docs/testing.md."""


def find(mutation: Mutation, seconds: float) -> Finding:
    """Run schedules with the fault until a law breaks or the time is over.

    What breaks without the fault as well does not count.
    """
    started, seed = time.monotonic(), 0
    while time.monotonic() - started < seconds:
        with mutation.applied():
            report = run_seed(seed)
        elapsed = time.monotonic() - started
        if report.broken is not None and run_seed(seed).broken is None:
            return Finding(report.broken, elapsed, seed + 1, seed)
        seed += 1
    return Finding(None, time.monotonic() - started, seed, -1)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutations")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each fault")
    parser.add_argument("--only", default="", help="faults whose name contains this")
    parser.add_argument("--defended", action="store_true", help="those that others make good")
    arguments = parser.parse_args()
    missed = 0
    print("| fault | found by | seconds | schedules |\n|---|---|---|---|")
    chosen = DEFENDED if arguments.defended else MUTATIONS
    for mutation in chosen:
        if arguments.only not in mutation.name:
            continue
        finding = find(mutation, arguments.seconds)
        missed += finding.broken is None
        shown = " ".join((finding.broken or "NOT FOUND").split())[:90]
        row = f"| {mutation.name} | {shown} | {finding.seconds:.1f} | {finding.schedules} |"
        print(row, flush=True)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
