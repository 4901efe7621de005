"""Threads with an agent made of the PyPI ACP SDK, in a process of its own."""

from importlib.util import find_spec

import pytest
import trio

from bbhost.contract import events as e
from bbhost.contract.interactions import Allowed, Denied
from bbhost.errors import AgentError
from tests.integration.threads.rig import FULL, TABLES, THREAD, Rig, open_rig

if (
    find_spec("acp") is None
):  # looked for, not imported: that takes a second, and only the agents need it
    pytest.skip("needs agent-client-protocol", allow_module_level=True)
pytestmark = pytest.mark.slow


async def test_a_whole_conversation(rig: Rig) -> None:
    """Chunks are one message; instructions go before the first prompt only."""
    session = await rig.start("acp", "hello")
    assert session.startswith("sess-")
    assert (await rig.server.wait_completed()).status == "completed"
    assert rig.server.types() == [
        "thread/started",
        "thread/identity",
        "turn/started",
        "turn/input/accepted",
        "item/started",
        "item/agentMessage/delta",
        "item/completed",
        "turn/completed",
    ]
    await rig.submit("acp", "again", provider_thread_id=session)
    await rig.server.wait_completed(2)
    assert rig.server.text() == "helloagain"


async def test_every_kind_of_update(rig: Rig) -> None:
    """Thoughts, plans, commands and the rest become events; nothing is lost silently."""
    await rig.start("acp", "all", options=FULL)
    await rig.server.wait_completed()
    items = [event.item for event in rig.server.of(e.ItemCompleted)]
    assert [item.TYPE for item in items] == ["reasoning", "commandExecution", "agentMessage"]
    assert items[1].command == "ls -a"
    assert items[1].aggregated_output == "a b"
    assert items[1].exit_code == 0
    assert rig.server.of(e.TurnPlanUpdated)[0].plan[0].status == "active"
    kinds = [event.raw_type for event in rig.server.of(e.ProviderUnhandled)]
    assert kinds == ["available_commands_update", "current_mode_update"]


@pytest.mark.parametrize(
    ("resolution", "text"),
    [
        (Allowed("allow_once", None), "outcome selected y"),
        (Denied(), "outcome selected n"),
    ],
)
async def test_an_approval(rig: Rig, resolution, text) -> None:
    """A permission request is a question to a person."""
    rig.server.answer = resolution
    await rig.start("acp", "ask")
    await rig.server.wait_completed()
    assert text in rig.server.text()
    assert rig.server.questions[0].payload.subject.command == "rm x"


async def test_mode_full_asks_nobody(rig: Rig) -> None:
    """In mode full every permission is given at once."""
    await rig.start("acp", "ask", options=FULL)
    await rig.server.wait_completed()
    assert "outcome selected y" in rig.server.text()
    assert rig.server.questions == []


async def test_files_are_confined_to_the_workspace(rig: Rig) -> None:
    """Reading and writing beneath the workspace works; anywhere else is refused."""
    (rig.workspace() / "a.txt").write_text("inside")
    (rig.root / "outside.txt").write_text("outside")
    (rig.workspace() / "link").symlink_to(rig.root / "outside.txt")
    texts = []
    for prompt in (
        f"read {rig.workspace()}/a.txt",
        f"write {rig.workspace()}/new/b.txt content",
        f"read {rig.root}/outside.txt",
        f"read {rig.workspace()}/link",
        f"write {rig.workspace()}/../escaped.txt x",
        f"write {rig.workspace()}/link x",
        f"write {rig.workspace()}/.git/hooks/pre-commit x",
    ):
        rig.server.events.clear()
        if not texts:
            await rig.start("acp", prompt)
        else:
            await rig.submit("acp", prompt)
        await rig.server.wait_completed()
        await rig.wait_idle()
        texts.append(rig.server.text())
    assert texts[:2] == ["read inside", "written"]
    assert all(text.startswith("refused") for text in texts[2:]), texts
    assert (rig.workspace() / "new" / "b.txt").read_text() == "content"
    assert (rig.root / "outside.txt").read_text() == "outside"
    assert not (rig.root / "workspaces" / "escaped.txt").exists()


async def test_steering_is_a_second_prompt_of_the_same_turn(rig: Rig) -> None:
    """The prompt is cancelled, the new one follows, and the server sees one turn."""
    await rig.start("acp", "wait")
    await rig.server.wait_text("waiting")
    turn_id = rig.server.of(e.TurnStarted)[0].scope.turn_id
    assert await rig.submit("acp", "instead", steer=True, expected=turn_id) == "steer"
    assert (await rig.server.wait_completed()).status == "completed"
    assert rig.server.text() == "waitinginstead"
    assert len(rig.server.of(e.TurnStarted)) == 1
    assert len(rig.server.of(e.TurnInputAccepted)) == 2


async def test_an_interrupt(rig: Rig) -> None:
    """The cancelled prompt is answered, and the turn is interrupted."""
    await rig.start("acp", "wait")
    await rig.server.wait_text("waiting")
    await rig.stop()
    assert rig.server.of(e.TurnCompleted)[0].status == "interrupted"
    await rig.wait_no_processes()


async def test_an_interrupt_answers_permission_requests(rig: Rig) -> None:
    """A pending permission request is answered as cancelled, and taken back."""
    await rig.start("acp", "ask")
    await rig.server.wait(lambda s: s.questions)
    await rig.stop()
    assert rig.server.of(e.TurnCompleted)[0].status == "interrupted"
    assert rig.server.taken_back[0][:2] == ("acp", THREAD)


async def test_an_agent_that_does_not_cancel_is_ended(rig: Rig, monkeypatch) -> None:
    """Steering a deaf agent ends it; the request is the first turn of the next agent."""
    monkeypatch.setattr("bbhost.agents.acp.agent.CANCEL_SECONDS", 0.3)
    await rig.start("acp", "deaf")
    await rig.server.wait_text("not listening")
    turn_id = rig.server.of(e.TurnStarted)[0].scope.turn_id
    applied = await rig.submit("acp", "hello", steer=True, expected=turn_id)
    assert applied == "new-turn"
    await rig.server.wait_completed(2)
    statuses = [event.status for event in rig.server.of(e.TurnCompleted)]
    assert statuses == ["failed", "completed"]
    assert "history" not in rig.server.text()


async def test_a_crash_mid_turn(rig: Rig) -> None:
    """Turn failed, then the error; the next turn loads the session again."""
    session = await rig.start("acp", "crash")
    await rig.server.wait(lambda s: s.of(e.SystemErrorEvent))
    assert rig.server.types()[-2:] == ["turn/completed", "system/error"]
    assert "segfault" in rig.server.of(e.SystemErrorEvent)[0].detail
    await rig.wait_idle()
    await rig.submit("acp", "hello", provider_thread_id=session)
    await rig.server.wait_completed(2)
    identities = [event.provider_thread_id for event in rig.server.of(e.ThreadIdentity)]
    assert identities == [session, session]
    assert "history" not in rig.server.text()


async def test_an_agent_that_never_answers(tmp_path, monkeypatch) -> None:
    """initialize has a deadline."""
    monkeypatch.setenv("FAKE_ACP_SILENT", "1")
    table = {**TABLES["acp"], "initialize_seconds": 0.3}
    async with open_rig(tmp_path, acp=table) as rig:
        await rig.provision()
        with pytest.raises(AgentError, match="did not answer initialize"):
            await rig.start("acp", "hello")
        await rig.wait_no_processes()


async def test_an_agent_that_nobody_has_logged_in_to(rig: Rig, monkeypatch) -> None:
    """The refusal comes with the agent's own words for how to log in, and no process is left."""
    monkeypatch.setenv("FAKE_ACP_LOGGED_OUT", "1")
    with pytest.raises(AgentError, match=r"log in .* first: Own login \(Run `own`\)"):
        await rig.start("acp", "hello")
    await rig.wait_no_processes()
    await rig.wait_idle()


async def test_destroy_mid_turn_leaves_no_process(rig: Rig) -> None:
    """The agent ends with its environment."""
    await rig.start("acp", "wait")
    await rig.server.wait_text("waiting")
    assert rig.processes()
    await rig.destroy()
    assert rig.processes() == []
    assert rig.server.of(e.TurnCompleted)[-1].status == "interrupted"


async def test_a_flood_is_bounded(rig: Rig) -> None:
    """Ten megabytes of chunks arrive as one message that is cut."""
    await rig.start("acp", "flood 10")
    await rig.server.wait_completed()
    item = rig.server.of(e.ItemCompleted)[0].item
    assert item.text.endswith("left out]")
    assert len(item.text) < 300_000


async def test_back_pressure_holds_up_the_agent(rig: Rig) -> None:
    """While events cannot go on, the agent waits in its own write, and nothing piles up."""
    await rig.start("acp", "hello")
    await rig.server.wait_completed()
    await rig.wait_idle()
    before = len(rig.server.events)
    await rig.submit("acp", "flood 5")
    rig.server.gate = trio.Event()
    await trio.sleep(0.3)
    held = len(rig.server.events) - before
    rig.server.gate.set()
    await rig.server.wait_completed(2)
    assert held < 70
    assert len(rig.server.text()) > 4_000_000
