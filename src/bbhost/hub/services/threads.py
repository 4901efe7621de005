"""Threads as the public API drives them: start, say more, stop, rename, archive, delete."""

import json
import sqlite3

from bbhost.contract.codec import encode_json, structure
from bbhost.contract.commands import (
    ThreadArchive,
    ThreadDeleted,
    ThreadRename,
    ThreadStart,
    ThreadStop,
    ThreadUnarchive,
    TurnSubmit,
)
from bbhost.contract.execution import ExecutionOptions, PromptInputs, ThreadContext
from bbhost.contract.ids import new_client_request_id, new_id
from bbhost.contract.results import TurnSubmitResult
from bbhost.domain.ids import EnvironmentId, ThreadId
from bbhost.hub.api.environments import ServerState
from bbhost.hub.api.threads import (
    AppDataList,
    EventPage,
    StartThread,
    StoredEvent,
    SubmittedTurn,
    SubmitTurn,
    Thread,
    ThreadList,
)
from bbhost.hub.clock import now_ms
from bbhost.hub.errors import ApiError, not_found
from bbhost.hub.services.core import Aftermath, Core
from bbhost.hub.services.environments import context_of, require_environment
from bbhost.hub.services.placement import thread_storage_path
from bbhost.hub.services.queue import CommandQueue, queue_command
from bbhost.hub.services.thread_requests import (
    DEFAULT_PROJECT,
    dump_inputs,
    plan_context,
    plan_execution,
    plan_input,
    plan_target,
    resume_context,
)
from bbhost.hub.services.thread_values import change, public_thread, require_thread
from bbhost.hub.storage import events as event_table
from bbhost.hub.storage import hosts as host_table
from bbhost.hub.storage import thread_files
from bbhost.hub.storage import threads as table
from bbhost.hub.storage.threads import ThreadRow


def queue_start(db: sqlite3.Connection, after: Aftermath, row: ThreadRow) -> None:
    """Queue the start of a thread whose environment is ready; its first request is spent."""
    request = json.loads(row.first_request or "{}")
    host = host_table.find_host(db, row.host_id)
    data_dir = host.data_dir if host is not None else None
    command = ThreadStart(
        environment_id=row.environment_id,
        thread_id=row.id,
        options=structure(ExecutionOptions, json.loads(row.execution)),
        request_id=request["requestId"],
        input=structure(PromptInputs, request["input"]),
        context=structure(ThreadContext, json.loads(row.context)),
        thread_storage_path=None if data_dir is None else thread_storage_path(data_dir, row.id),
    )
    queue_command(db, after, row.host_id, command)
    table.change_thread(db, row.id, now_ms(), first_request=None)


class Threads:
    """What the public API can do with threads."""

    def __init__(self, core: Core, queue: CommandQueue) -> None:
        self._core = core
        self._queue = queue

    # --- turns ------------------------------------------------------------------------------

    async def start(self, request: StartThread) -> Thread:
        """Make a thread and queue its first turn, at once or when its environment is ready.

        Raises:
            ApiError: 404 unknown environment, 409 one that will not be ready, 400.
        """
        inputs = plan_input(request)
        execution = plan_execution(request.execution, None)
        thread_id = ThreadId(new_id("thr"))

        def step(db: sqlite3.Connection, after: Aftermath) -> Thread:
            environment = require_environment(db, request.environment_id)
            if environment.state not in {ServerState.READY, ServerState.PROVISIONING}:
                raise ApiError(
                    409, "environment_not_ready", f"The environment is {environment.state.value}"
                )
            first = {"requestId": new_client_request_id(), "input": dump_inputs(inputs)}
            now = now_ms()
            row = ThreadRow(
                id=thread_id,
                environment_id=EnvironmentId(environment.id),
                host_id=environment.host_id,
                project_id=request.project_id or DEFAULT_PROJECT,
                provider_id=request.provider_id,
                title=request.title,
                state="starting",
                provider_thread_id=None,
                active_turn_id=None,
                stop_requested=0,
                archived=0,
                deleted=0,
                last_interruption=None,
                error_code=None,
                error_message=None,
                execution=encode_json(execution),
                context=encode_json(plan_context(request, context_of(environment))),
                first_request=json.dumps(first),
                created_at=now,
                updated_at=now,
            )
            table.add_thread(db, row)
            if environment.state is ServerState.READY:
                queue_start(db, after, row)
            return change(db, after, thread_id, state="starting")

        return await self._core.transact(step)

    async def submit(self, thread_id: str, request: SubmitTurn) -> SubmittedTurn:
        """Say more to a thread and wait until the daemon has taken it.

        Raises:
            ApiError: 404; 409 the thread has not started, stops or is archived; 502, 503, 504.
        """
        inputs = plan_input(request)

        def step(db: sqlite3.Connection, after: Aftermath) -> tuple[ThreadRow, TurnSubmit]:
            row = require_thread(db, thread_id)
            if row.archived or row.state in {"starting", "stopping"}:
                word = "archived" if row.archived else row.state
                raise ApiError(409, "thread_not_ready", f"The thread is {word}")
            if row.provider_thread_id is None:
                raise ApiError(409, "thread_not_started", "The thread never started")
            execution = plan_execution(request.execution, row.execution)
            change(db, after, row.id, execution=encode_json(execution))
            command = TurnSubmit(
                environment_id=row.environment_id,
                thread_id=row.id,
                request_id=new_client_request_id(),
                input=inputs,
                options=execution,
                resume_context=resume_context(row, row.provider_thread_id),
                target=plan_target(request, row.active_turn_id),
            )
            return row, command

        row, command = await self._core.transact(step)
        result = await self._queue.ask(row.host_id, command)
        taken = structure(TurnSubmitResult, result)
        return SubmittedTurn(command.request_id, taken.applied_as)

    async def stop(self, thread_id: str) -> Thread:
        """Interrupt the turn under way; nothing where there is none."""

        def step(db: sqlite3.Connection, after: Aftermath) -> Thread:
            row = require_thread(db, thread_id)
            if row.state not in {"starting", "active"}:
                return public_thread(db, row)
            if row.first_request is not None:
                # It was never sent to the daemon, so there is nothing to interrupt.
                return change(db, after, row.id, state="idle", first_request=None)
            queue_command(db, after, row.host_id, ThreadStop(row.environment_id, row.id))
            return change(db, after, row.id, state="stopping", stop_requested=1)

        return await self._core.transact(step)

    # --- the thread as a whole --------------------------------------------------------------

    async def rename(self, thread_id: str, title: str) -> Thread:
        """Give a thread another title and tell its provider."""

        def step(db: sqlite3.Connection, after: Aftermath) -> Thread:
            row = require_thread(db, thread_id)
            if row.provider_thread_id is not None:
                command = ThreadRename(row.environment_id, row.id, title)
                queue_command(db, after, row.host_id, command)
            return change(db, after, row.id, title=title)

        return await self._core.transact(step)

    async def archive(self, thread_id: str) -> Thread:
        """Put a thread away; a provider that can is told.

        Raises:
            ApiError: 409, a turn is under way.
        """

        def step(db: sqlite3.Connection, after: Aftermath) -> Thread:
            row = require_thread(db, thread_id)
            if row.state in {"starting", "active", "stopping"}:
                raise ApiError(409, "thread_busy", "A turn is under way; stop it first")
            if row.provider_thread_id is not None and not row.archived:
                environment = require_environment(db, row.environment_id)
                command = ThreadArchive(
                    row.environment_id,
                    row.id,
                    context_of(environment),
                    row.provider_id,
                    row.provider_thread_id,
                )
                queue_command(db, after, row.host_id, command)
            return change(db, after, row.id, archived=1)

        return await self._core.transact(step)

    async def unarchive(self, thread_id: str) -> Thread:
        """Take a thread out again."""

        def step(db: sqlite3.Connection, after: Aftermath) -> Thread:
            row = require_thread(db, thread_id)
            if row.provider_thread_id is not None and row.archived:
                command = ThreadUnarchive(row.id, row.provider_id, row.provider_thread_id)
                queue_command(db, after, row.host_id, command)
            return change(db, after, row.id, archived=0)

        return await self._core.transact(step)

    async def delete(self, thread_id: str) -> None:
        """Delete a thread with its events and its storage; a turn under way is stopped first."""

        def step(db: sqlite3.Connection, after: Aftermath) -> None:
            row = require_thread(db, thread_id)
            if row.state in {"starting", "active", "stopping"} and row.first_request is None:
                queue_command(db, after, row.host_id, ThreadStop(row.environment_id, row.id))
            queue_command(db, after, row.host_id, ThreadDeleted(row.environment_id, row.id))
            event_table.forget_events(db, row.id)
            thread_files.forget_app_data(db, row.id)
            change(
                db, after, row.id,
                deleted=1, state="idle", active_turn_id=None, first_request=None,
            )  # fmt: skip

        await self._core.transact(step)

    # --- reading ----------------------------------------------------------------------------

    async def list(self, environment_id: str | None) -> ThreadList:
        """Return threads, oldest first."""

        def work(db: sqlite3.Connection) -> ThreadList:
            rows = table.list_threads(db, environment_id=environment_id)
            return ThreadList(tuple(public_thread(db, row) for row in rows))

        return await self._core.read(work)

    async def get(self, thread_id: str) -> Thread:
        """Return one thread."""
        return await self._core.read(lambda db: public_thread(db, require_thread(db, thread_id)))

    async def events(self, thread_id: str, after: int, limit: int) -> EventPage:
        """Return events after a sequence number, oldest first; also of a provisioning."""

        def work(db: sqlite3.Connection) -> EventPage:
            if table.find_thread(db, thread_id) is None:
                raise not_found("thread", thread_id)
            rows = event_table.list_events(db, thread_id, after, limit)
            events = tuple(StoredEvent(row[0], thread_id, row[1], row[2]) for row in rows)
            return EventPage(events, events[-1].sequence if events else after)

        return await self._core.read(work)

    async def app_data(self, thread_id: str) -> AppDataList:
        """Return what the thread's apps have written."""

        def work(db: sqlite3.Connection) -> AppDataList:
            require_thread(db, thread_id)
            return AppDataList(tuple(thread_files.list_app_data(db, thread_id)))

        return await self._core.read(work)
