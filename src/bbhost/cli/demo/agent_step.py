"""The step in which an agent works: a plain command that stands for one."""

from bbhost.cli.demo.world import World
from bbhost.cli.following import environment_path
from bbhost.cli.thread_events import Event, Rendering, ends_turn
from bbhost.cli.thread_following import follow_events
from bbhost.contract.results import WorkspaceStatusResult
from bbhost.hub.api.threads import StartThread, Thread

PROVIDER = "demo"
CONFIG = f"""
[providers.{PROVIDER}]
kind = "command"
argv = ["sh", "-c", 'echo "I was asked to: $1"; echo done > agent.txt', "agent", "{{prompt}}"]
"""
"""Settings with which the daemon knows the command as a provider."""


async def work(world: World) -> None:
    """A thread in an environment: a prompt, a turn, an answer, a file."""
    environment = world.environments["gamma"]
    wanted = StartThread(environment.id, PROVIDER, prompt="write a file")
    thread = await world.client.post(Thread, "/threads", wanted)
    world.thread_id = thread.id
    said: list[str] = []
    rendering = Rendering()
    ended: list[str] = []

    def take(stored: Event) -> bool:
        said.extend(rendering.lines(stored["event"]))
        if ends_turn(stored["event"]):
            ended.append(str(stored["event"]["status"]))
        return bool(ended)

    await follow_events(world.client, thread.id, 0, take)
    status = await world.client.get(
        WorkspaceStatusResult, environment_path(environment.id, "/status")
    )
    files = [one.path for one in status.workspace_status.working_tree.files]
    world.tell(f"an agent (a plain command) had a turn in gamma: {ended[0]}; it changed {files}")
    world.check(
        "an agent works in an environment",
        ended == ["completed"] and "I was asked to: write a file" in said and "agent.txt" in files,
        f"turn {ended[0]}, {len(said)} lines, agent.txt in the status",
    )
