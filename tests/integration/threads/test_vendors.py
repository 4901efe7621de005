"""The vendors' own programs, where they are installed. None of them is needed, nor is a network.

Without a login and without a network a turn cannot succeed; what is tried is everything around it.
"""

import shutil

import pytest
import trio

from bbhost.agents.registry import make_registry
from bbhost.contract import commands as c
from bbhost.contract import events as e
from bbhost.errors import AgentError
from bbhost.processes.environ import child_environ
from tests.integration.threads.rig import Rig, open_rig

pytestmark = pytest.mark.long
HELLO_SECONDS = 50.0
ACP = [one for one in make_registry({}).definitions() if one.kind == "acp"]


@pytest.fixture
async def vendors(tmp_path, monkeypatch):
    """A rig with the ready entries as they are, and a home in which nobody has logged in."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("CODEX_HOME", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    async with open_rig(tmp_path, codex={}) as rig:
        await rig.provision()
        yield rig


@pytest.mark.parametrize("definition", ACP, ids=lambda one: one.id)
async def test_an_acp_agent_comes_up_or_says_why_not(vendors: Rig, definition) -> None:
    """It understands its command line and ``initialize``; what it refuses after that is told."""
    if make_registry({}).installed(definition, child_environ().get("PATH")) is None:
        pytest.skip(f"{definition.argv[0]} is not on PATH")
    refusal: str | None = None
    with trio.fail_after(HELLO_SECONDS):
        try:
            await vendors.start(definition.id, "hello")
        except AgentError as error:
            refusal = error.message
        else:
            await vendors.stop()
    if refusal is None:
        assert len(vendors.server.of(e.TurnCompleted)) == 1
    else:
        assert "session/new" in refusal
    await vendors.wait_no_processes()


@pytest.mark.skipif(shutil.which("codex") is None, reason="codex is not on PATH")
async def test_codex(vendors: Rig) -> None:
    """Models, a turn that reaches nobody, an interrupt, and the conversation resumed."""
    with trio.fail_after(HELLO_SECONDS):
        listed = await vendors.service.handle_list_models(c.ProviderListModels("codex"))
        assert sum(one.is_default for one in listed.models) == 1
        thread = await vendors.start("codex", "hello")
        assert await vendors.submit("codex", "and", steer=True, provider_thread_id=thread)
        await vendors.stop()
        assert {one.status for one in vendors.server.of(e.TurnCompleted)} <= {
            "interrupted",
            "failed",
        }
        await vendors.wait_no_processes()
        await vendors.submit("codex", "again", provider_thread_id=thread)
        assert vendors.server.of(e.ThreadIdentity)[-1].provider_thread_id == thread
        await vendors.stop()
    await vendors.wait_no_processes()
