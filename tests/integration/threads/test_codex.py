"""Threads with a scripted peer of Codex's app-server."""

import json
import os

import pytest
import trio

from bbhost.contract import commands as c
from bbhost.contract import events as e
from bbhost.contract.interactions import Allowed, Denied
from bbhost.contract.items import ApprovalStatus, CommandExecutionItem
from bbhost.errors import AgentError, InteractionMismatchError, StaleInteractionError
from tests.integration.threads.rig import FULL, ONE, TABLES, THREAD, Rig, open_rig, resolve


async def test_a_whole_conversation(rig: Rig) -> None:
    """The events of a turn come complete and in the order that a server needs."""
    assert await rig.start("codex", "say hello") == "thr_1"
    assert (await rig.server.wait_completed()).status == "completed"
    assert rig.server.types() == [
        "thread/started",
        "thread/identity",
        "turn/started",
        "turn/input/accepted",
        "item/started",
        "item/agentMessage/delta",
        "item/completed",
        "thread/tokenUsage/updated",
        "thread/contextWindowUsage/updated",
        "turn/completed",
    ]
    await rig.wait_idle()
    assert await rig.submit("codex", "say again") == "new-turn"
    await rig.server.wait_completed(2)
    assert rig.server.text() == "helloagain"
    await rig.wait_idle()


async def test_what_the_agent_is_told(rig: Rig, monkeypatch, tmp_path) -> None:
    """Permission mode, shell environment and instructions reach the app-server."""
    log = tmp_path / "log"
    monkeypatch.setenv("FAKE_CODEX_LOG", str(log))
    monkeypatch.setenv("BB_SECRET", "never")
    await rig.start("codex", "say hello")
    await rig.server.wait_completed()
    await rig.service.handle_rename(c.ThreadRename(ONE, THREAD, "A title"))
    sent = {m["method"]: m.get("params") for m in map(json.loads, log.read_text().splitlines())}
    start = sent["thread/start"]
    assert start["approvalPolicy"] == "on-request"
    assert start["sandbox"] == "workspace-write"
    assert start["developerInstructions"] == "Be kind."
    config = start["config"]
    assert config["shell_environment_policy.set.BB_THREAD_ID"] == THREAD
    assert config["shell_environment_policy.set.BB_ENVIRONMENT_ID"] == ONE
    assert config["shell_environment_policy.set.PATH"].startswith("/opt/cli:")
    assert config["shell_environment_policy.set.BB_HOST_DAEMON_PORT"] == "4321"
    assert not [key for key in config if "SECRET" in key]
    assert sent["turn/start"]["sandboxPolicy"]["type"] == "workspaceWrite"
    assert sent["thread/name/set"]["name"] == "[bb] A title"
    await rig.server.wait(lambda s: s.of(e.ThreadNameUpdated))
    assert rig.server.of(e.ThreadNameUpdated)[0].thread_name == "A title"


@pytest.mark.parametrize(
    ("resolution", "decision"),
    [
        (Allowed("allow_once", None), "accept"),
        (Allowed("allow_for_session", None), "acceptForSession"),
        (Denied(), "decline"),
    ],
)
async def test_an_approval(rig: Rig, resolution, decision) -> None:
    """The agent waits for a person; the answer reaches it, also when it comes at once."""
    rig.server.answer = resolution
    await rig.start("codex", "approve")
    await rig.server.wait_completed()
    assert f"decision {decision}" in rig.server.text()
    question = rig.server.questions[0]
    assert question.payload.subject.command == "make test"
    waiting = [
        event.item
        for event in rig.server.of(e.ItemStarted)
        if isinstance(event.item, CommandExecutionItem)
    ]
    assert [item.approval_status for item in waiting] == [None, ApprovalStatus.WAITING]
    # Delivered twice is a success; another id is a mismatch; another question is stale.
    await rig.service.handle_resolve(resolve(question))
    with pytest.raises(InteractionMismatchError):
        await rig.service.handle_resolve(resolve(question, interaction_id="pint_other"))
    with pytest.raises(StaleInteractionError):
        command = resolve(question)
        await rig.service.handle_resolve(
            c.InteractiveResolve(
                ONE, THREAD, "pint_1", "codex", "thr_1", "unknown", command.resolution
            )
        )


async def test_a_tool_call(rig: Rig) -> None:
    """A dynamic tool is the server's to run."""
    await rig.start("codex", "tool hi")
    await rig.server.wait_completed()
    assert rig.server.tools[0].arguments == {"text": "hi"}
    assert "inputText" in rig.server.text()


async def test_steering(rig: Rig) -> None:
    """The expected turn takes the input; a stale id is a new turn and no error."""
    await rig.start("codex", "wait")
    await rig.server.wait_text("waiting")
    turn_id = rig.server.of(e.TurnStarted)[0].scope.turn_id
    assert rig.service.active_threads() == (THREAD,)
    assert await rig.submit("codex", "more", steer=True, expected=turn_id) == "steer"
    await rig.server.wait_completed()
    assert "steered: more" in rig.server.text()
    assert len(rig.server.of(e.TurnInputAccepted)) == 2
    assert await rig.submit("codex", "say x", steer=True, expected=turn_id) == "new-turn"
    assert (await rig.server.wait_completed(2)).status == "completed"


async def test_a_new_turn_waits_for_the_one_that_runs(rig: Rig) -> None:
    """A stale id while another turn runs: the request is taken and becomes the next turn."""
    await rig.start("codex", "wait")
    await rig.server.wait_text("waiting")
    turn_id = rig.server.of(e.TurnStarted)[0].scope.turn_id
    assert await rig.submit("codex", "say second", steer=True, expected="turn_old") == "new-turn"
    assert len(rig.server.of(e.TurnStarted)) == 1
    await rig.submit("codex", "go", steer=True, expected=turn_id)
    await rig.server.wait_completed(2)
    assert "second" in rig.server.text()


async def test_an_interrupt(rig: Rig) -> None:
    """thread.stop interrupts the turn, tells so, and leaves no process."""
    await rig.start("codex", "wait")
    await rig.server.wait_text("waiting")
    await rig.stop()
    assert rig.server.of(e.TurnCompleted)[-1].status == "interrupted"
    await rig.wait_no_processes()
    assert rig.server.of(e.SystemErrorEvent) == []
    await rig.stop()


async def test_an_interrupt_takes_questions_back(rig: Rig) -> None:
    """Whoever was asked is told that the answer is not wanted any more."""
    await rig.start("codex", "approve")
    await rig.server.wait(lambda s: s.questions)
    await rig.stop()
    assert rig.server.of(e.TurnCompleted)[-1].status == "interrupted"
    assert rig.server.taken_back[0][:2] == ("codex", THREAD)


@pytest.mark.slow
async def test_an_agent_that_does_not_react_is_ended(rig: Rig, monkeypatch) -> None:
    """A stop is bounded: then the process goes."""
    monkeypatch.setattr("bbhost.environment.threads.work.STOP_SECONDS", 0.3)
    await rig.start("codex", "deaf")
    await rig.server.wait_text("not listening")
    await rig.stop()
    assert rig.server.of(e.TurnCompleted)[-1].status == "interrupted"
    await rig.wait_no_processes()


@pytest.mark.slow
async def test_a_crash_mid_turn(rig: Rig, monkeypatch) -> None:
    """Turn failed, then the error with the end of stderr, without the credential; then it resumes."""
    monkeypatch.setenv("SOME_API_KEY", "very-secret-value")
    await rig.start("codex", "crash")
    await rig.server.wait(lambda s: s.of(e.SystemErrorEvent))
    assert rig.server.types()[-2:] == ["turn/completed", "system/error"]
    completed = rig.server.of(e.TurnCompleted)[0]
    assert completed.status == "failed"
    error = rig.server.of(e.SystemErrorEvent)[0]
    assert error.code == "provider_process_exited"
    assert "the end" in error.detail
    assert "very-secret-value" not in error.detail
    assert len(error.detail) <= 4000 + len("stderr:\n")
    await rig.wait_idle()
    assert await rig.submit("codex", "say back") == "new-turn"
    await rig.server.wait_completed(2)
    assert "back" in rig.server.text()


@pytest.mark.slow
async def test_garbage_is_told_and_survived(rig: Rig) -> None:
    """Lines that are no messages, and one that is too long, are reported; the turn goes on."""
    await rig.start("codex", "garbage")
    assert (await rig.server.wait_completed()).status == "completed"
    assert "still here" in rig.server.text()
    assert len(rig.server.of(e.ProviderErrorEvent)) == 4
    unhandled = rig.server.of(e.ProviderUnhandled)
    assert [event.raw_type for event in unhandled] == ["something/new"]


async def test_a_turn_that_fails(rig: Rig) -> None:
    """The provider's error is told with its category."""
    await rig.start("codex", "fail")
    assert (await rig.server.wait_completed()).status == "failed"
    assert rig.server.of(e.ProviderErrorEvent)[0].error_info.category == "rate-limit"


@pytest.mark.slow
async def test_an_agent_that_never_answers(tmp_path, monkeypatch) -> None:
    """Identity has a deadline; the command fails cleanly and no process is left."""
    monkeypatch.setenv("FAKE_CODEX_SILENT", "1")
    argv = {**TABLES["codex"], "identity_seconds": 0.5}
    async with open_rig(tmp_path, codex=argv) as rig:
        await rig.provision()
        with pytest.raises(AgentError, match="did not answer thread/start"):
            await rig.start("codex", "say hello")
        await rig.wait_no_processes()
        assert rig.server.events == []
        await rig.wait_idle()


async def test_destroy_mid_turn_leaves_no_process(rig: Rig) -> None:
    """Even what the agent started in a session of its own is gone, and the turn is told to be over."""
    await rig.start("codex", "spawn", options=FULL)
    await rig.server.wait(lambda s: s.text())
    grandchild = int(rig.server.text())
    os.kill(grandchild, 0)
    await rig.destroy()
    with pytest.raises(ProcessLookupError):
        os.kill(grandchild, 0)
    assert rig.processes() == []
    assert rig.server.of(e.TurnCompleted)[-1].status == "interrupted"
    assert rig.service.threads() == ()


async def test_a_redelivered_command_does_not_start_two_turns(rig: Rig) -> None:
    """The same request twice, at the same time and afterwards, is one turn with one answer."""
    command = rig.start_command("codex", "say once")
    results = []

    async def run() -> None:
        results.append(await rig.service.handle_start(command))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        nursery.start_soon(run)
    await run()
    await rig.server.wait_completed()
    assert len(results) == 3
    assert len(set(results)) == 1
    assert rig.server.text() == "once"


@pytest.mark.slow
async def test_models_and_archive(rig: Rig, monkeypatch, tmp_path) -> None:
    """Questions without a thread are asked of a process of their own."""
    log = tmp_path / "log"
    monkeypatch.setenv("FAKE_CODEX_LOG", str(log))
    listed = await rig.service.handle_list_models(c.ProviderListModels("codex"))
    assert [one.model for one in listed.models] == ["m1"]
    assert [one.reasoning_effort for one in listed.models[0].supported_reasoning_efforts] == [
        "high"
    ]
    await rig.service.handle_archive(c.ThreadArchive(ONE, THREAD, rig.context(), "codex", "thr_1"))
    await rig.service.handle_unarchive(c.ThreadUnarchive(THREAD, "codex", "thr_1"))
    methods = [json.loads(line)["method"] for line in log.read_text().splitlines()]
    assert "thread/archive" in methods
    assert "thread/unarchive" in methods
    await rig.wait_no_processes()


@pytest.mark.slow
async def test_a_flood_is_bounded(rig: Rig) -> None:
    """More than a turn may say is read and dropped, and the turn ends as it should."""
    await _flood(rig, 20)


@pytest.mark.long
async def test_a_flood_of_200_megabytes(rig: Rig) -> None:
    """The same, far beyond every bound."""
    await _flood(rig, 200)


async def _flood(rig: Rig, megabytes: int) -> None:
    passed = 0

    def keep(event: e.ThreadEvent) -> bool:
        nonlocal passed
        if isinstance(event, e.AgentMessageDelta):
            passed += len(event.delta)
            return False
        return True

    rig.server.keep = keep
    await rig.start("codex", f"flood {megabytes}")
    assert (await rig.server.wait_completed()).status == "completed"
    assert passed == 16 * 1024 * 1024
    assert len(rig.server.of(e.ProviderWarning)) == 1
