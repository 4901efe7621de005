"""Threads of plain commands, and what is the same for every provider."""

import os
import pathlib

import pytest
import trio

from bbhost.contract import commands as c
from bbhost.contract import events as e
from bbhost.contract.execution import LocalFileInput
from bbhost.domain.ids import EnvironmentId, ThreadId
from bbhost.errors import (
    AttachmentError,
    BbhostError,
    EnvironmentDestroyedError,
    MissingExecutableError,
    UnknownEnvironmentError,
    UnknownProviderError,
)
from tests.integration.threads.rig import FULL, ONE, THREAD, Rig


async def test_a_command_is_a_turn(rig: Rig) -> None:
    """Its output is the agent's message, its exit status the turn's."""
    await rig.start("shell", "printf 'héllo '; echo world")
    assert (await rig.server.wait_completed()).status == "completed"
    assert rig.server.of(e.ItemCompleted)[0].item.text == "héllo world\n"
    await rig.wait_idle()
    await rig.wait_no_processes()


async def test_a_failing_command(rig: Rig) -> None:
    """A status other than 0 fails the turn, with the end of stderr."""
    await rig.start("shell", "echo out; echo why >&2; exit 7")
    completed = await rig.server.wait_completed()
    assert completed.status == "failed"
    assert "status 7: why" in completed.error.message
    await rig.wait_idle()
    await rig.submit("shell", "echo again")
    assert (await rig.server.wait_completed(2)).status == "completed"


async def test_the_prompt_on_stdin(rig: Rig) -> None:
    """The command reads it to its end."""
    await rig.start("cat", "line one\nline two")
    await rig.server.wait_completed()
    assert rig.server.text() == "line one\nline two"


async def test_resuming(rig: Rig) -> None:
    """The first turn and later ones have commands of their own, with one session id."""
    session = await rig.start("echo", "x")
    await rig.server.wait_completed()
    await rig.wait_idle()
    await rig.submit("echo", "y", provider_thread_id=session)
    await rig.server.wait_completed(2)
    assert rig.server.text() == f"new {session}\nagain {session}\n"


async def test_variables_of_the_shell(rig: Rig) -> None:
    """A command sees where it is, and nothing that is private to the daemon."""
    os.environ["BB_HOST_ENROLL_KEY"] = "secret"
    try:
        await rig.start("shell", "env")
        await rig.server.wait_completed()
    finally:
        del os.environ["BB_HOST_ENROLL_KEY"]
    names = {line.partition("=")[0] for line in rig.server.text().splitlines()}
    assert {"BB_THREAD_ID", "BB_ENVIRONMENT_ID", "BB_PROJECT_ID", "BB_SERVER_URL"} <= names
    assert "BB_HOST_ENROLL_KEY" not in names


async def test_an_interrupt_ends_what_the_command_started(rig: Rig) -> None:
    """The whole process group goes."""
    await rig.start("shell", "echo go; sleep 1000 & sleep 1000")
    await rig.server.wait_text("go")
    await rig.stop()
    assert rig.server.of(e.TurnCompleted)[0].status == "interrupted"
    await rig.wait_no_processes()


@pytest.mark.slow
async def test_steering_a_command_makes_it_the_next_turn(rig: Rig) -> None:
    """There is nothing to add to; the request is not lost."""
    await rig.start("shell", "echo go; read x < fifo || sleep 0.3")
    await rig.server.wait_text("go")
    turn_id = rig.server.of(e.TurnStarted)[0].scope.turn_id
    applied = await rig.submit("shell", "echo next", steer=True, expected=turn_id)
    assert applied == "new-turn"
    await rig.server.wait_completed(2)
    assert "next" in rig.server.text()


@pytest.mark.slow
async def test_a_flood(rig: Rig) -> None:
    """Thirty megabytes: the bound of a turn is passed on, the rest is read and dropped."""
    await rig.start("shell", "head -c 31457280 /dev/zero | tr '\\0' x")
    assert (await rig.server.wait_completed()).status == "completed"
    assert len(rig.server.text()) == 16 * 1024 * 1024


# --- what is the same for all ---------------------------------------------------------------


async def test_commands_on_threads_that_nobody_has(rig: Rig) -> None:
    """A clean answer, and nothing is made."""
    nowhere, nobody = EnvironmentId("env_nowhere"), ThreadId("thr_nobody")
    before = dict(rig.world.journal)
    await rig.service.handle_rename(c.ThreadRename(nowhere, nobody, "x"))
    await rig.service.handle_rename(c.ThreadRename(ONE, nobody, "x"))
    await rig.service.handle_deleted(c.ThreadDeleted(nowhere, nobody))
    await rig.service.handle_stop(c.ThreadStop(ONE, nobody))
    with pytest.raises(UnknownEnvironmentError):
        await rig.service.handle_stop(c.ThreadStop(nowhere, nobody))
    with pytest.raises(UnknownProviderError):
        await rig.service.handle_list_models(c.ProviderListModels("nope"))
    with pytest.raises(MissingExecutableError):
        await rig.service.handle_list_models(c.ProviderListModels("missing"))
    with pytest.raises(BbhostError, match="no archive"):
        await rig.service.handle_archive(
            c.ThreadArchive(nowhere, nobody, rig.context(), "shell", "x")
        )
    with pytest.raises(MissingExecutableError):
        await rig.start("missing", "x")
    assert rig.world.journal == before
    await rig.wait_no_processes()
    assert rig.service.threads() == ()


async def test_a_destroyed_environment_takes_no_threads(rig: Rig) -> None:
    """A thread cannot bring an environment back, nor leave anything behind in trying."""
    await rig.destroy()
    before = list(rig.world.history)
    with pytest.raises(EnvironmentDestroyedError):
        await rig.start("shell", "echo x", LocalFileInput("token"))
    with pytest.raises(EnvironmentDestroyedError):
        await rig.submit("shell", "echo x")
    assert rig.world.history == before
    assert not (rig.root / "storage").exists()
    assert rig.server.events == []


@pytest.mark.parametrize("_attempt", range(5))
async def test_start_against_destroy(rig: Rig, _attempt: int) -> None:
    """Whoever comes first: afterwards there is no process, no thread, and every turn has an end."""
    outcomes = []

    async def start() -> None:
        try:
            outcomes.append(await rig.start("shell", "sleep 1000"))
        except BbhostError as error:
            outcomes.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start)
        if _attempt % 2:
            await rig.server.wait(lambda s: s.events)
        nursery.start_soon(rig.destroy)
    assert len(outcomes) == 1
    assert rig.processes() == []
    assert rig.service.threads() == ()
    assert len(rig.server.of(e.TurnStarted)) == len(rig.server.of(e.TurnCompleted))


@pytest.mark.parametrize("_attempt", range(5))
async def test_stop_against_completion(rig: Rig, _attempt: int) -> None:
    """A stop that races the end of the turn: one end is told, and only one."""
    await rig.start("shell", "true")
    await rig.stop()
    assert len(rig.server.of(e.TurnCompleted)) == 1
    assert rig.service.threads() == ()


@pytest.mark.slow
async def test_stop_while_starting(rig: Rig) -> None:
    """An agent that is still coming up is stopped too, and the command is answered."""
    failures = []

    async def start() -> None:
        try:
            await rig.start("shell", "sleep 1000")
        except BbhostError as error:
            failures.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start)
        while not rig.service.active_threads():
            await trio.lowlevel.checkpoint()
        await rig.stop()
    await rig.wait_no_processes()
    assert len(rig.server.of(e.TurnStarted)) == len(rig.server.of(e.TurnCompleted))
    await rig.start("shell", "echo fresh")
    await rig.server.wait_text("fresh")


async def test_an_environment_with_an_active_turn_is_not_retired(rig: Rig) -> None:
    """When the turn is over, it is idle and may be."""
    await rig.start("shell", "sleep 1000")
    assert not await rig.supervisor.retire(ONE)
    rig.world.idle_notes.clear()
    await rig.stop()
    assert rig.world.idle_notes == [ONE]
    assert await rig.supervisor.retire(ONE)


async def test_attachments(rig: Rig) -> None:
    """Uploads are downloaded, named safely and readable by this user only."""
    rig.server.uploads["tok"] = b"data"
    upload = LocalFileInput("tok", "a b/../ü.txt", 4)
    await rig.start("cat", "look", upload)
    await rig.server.wait_completed()
    path = rig.server.text().rpartition(": ")[2].strip()
    assert path.startswith(str(rig.root / "storage" / THREAD / "runtime-attachments"))
    assert pathlib.Path(path).name.startswith("001-")
    assert pathlib.Path(path).stat().st_mode & 0o777 == 0o600
    await rig.service.handle_deleted(c.ThreadDeleted(ONE, THREAD))
    assert not pathlib.Path(path).exists()


async def test_a_failed_attachment_leaves_nothing(rig: Rig) -> None:
    """Whatever was staged before is gone again; so it is when the agent cannot be started."""
    rig.server.uploads["tok"] = b"data"
    with pytest.raises(AttachmentError):
        await rig.start("cat", "x", LocalFileInput("tok"), LocalFileInput("other"))
    with pytest.raises(AttachmentError, match="4 bytes and not 5"):
        await rig.start("cat", "x", LocalFileInput("tok", None, 5))
    staged = rig.root / "storage" / THREAD / "runtime-attachments"
    assert not staged.exists() or list(staged.iterdir()) == []


async def test_providers_are_listed_truthfully(rig: Rig) -> None:
    """What is not on PATH is not available."""
    listed = (await rig.service.handle_provider_list(c.ProviderList())).providers
    available = {one.id: one.available for one in listed}
    assert available["shell"]
    assert not available["missing"]
    assert {"codex", "claude-code", "pi", "gemini", "goose", "opencode"} <= set(available)
    await rig.wait_no_processes()


async def test_stop_all_tells_of_every_turn(rig: Rig) -> None:
    """Before the daemon goes, turns are interrupted and told so."""
    await rig.start("shell", "sleep 1000", options=FULL)
    await rig.service.stop_all()
    assert rig.server.of(e.TurnCompleted)[0].status == "interrupted"
    await rig.wait_no_processes()
