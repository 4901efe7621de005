"""What an agent leaves running may hold its pipes open; the agent's own exit is what counts."""

import sys
from pathlib import Path

import pytest

from tests.integration.threads.rig import Rig, open_rig

# Speaks as much of the protocol as it takes to be given a prompt; then it dies in the middle of the turn
# and leaves a child with its stdin, stdout and stderr.
DYING_AGENT = """
import json, os, subprocess, sys
answers = {
    "initialize": {"protocolVersion": 1, "agentCapabilities": {}},
    "session/new": {"sessionId": "sess"},
}
for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "session/prompt":
        subprocess.Popen(["sleep", "1000"])
        os._exit(3)
    answer = {"jsonrpc": "2.0", "id": message["id"], "result": answers[message["method"]]}
    print(json.dumps(answer), flush=True)
"""


@pytest.mark.slow
async def test_a_command_that_leaves_something_running_has_ended(rig: Rig) -> None:
    """A development server in the background keeps stdout; what the command said is told all the same."""
    await rig.start("shell", "echo hi; sleep 1000 &")
    assert (await rig.server.wait_completed()).status == "completed"
    assert rig.server.text() == "hi\n"
    await rig.wait_idle()
    assert rig.processes(), "it belongs to the environment, and ends with that"
    await rig.destroy()
    assert not rig.processes()


@pytest.mark.slow
async def test_an_agent_that_dies_and_leaves_something_running_has_gone(tmp_path: Path) -> None:
    """Its turn is told to have failed, and the next request gets a new agent."""
    dying = {"kind": "acp", "argv": [sys.executable, "-c", DYING_AGENT]}
    async with open_rig(tmp_path, dying=dying) as rig:
        await rig.provision()
        await rig.start("dying", "go")
        completed = await rig.server.wait_completed()
        assert completed.status == "failed"
        assert "status 3" in completed.error.message
        await rig.wait_idle()
        await rig.submit("dying", "go", provider_thread_id="sess")
        await rig.server.wait_completed(2)
