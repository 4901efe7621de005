"""A process that does one thing to a workspace, to be killed at a fault point while it does.

``python -m tests.integration.workspace.crash_child <what> <data dir> <source>``
"""

import sys
from pathlib import Path

import trio

from bbhost.workspace.commit import commit_workspace
from bbhost.workspace.merge import note_merge_facts, squash_merge
from bbhost.workspace.repository import discover_repository
from bbhost.workspace.transcript import wall_clock_ms
from bbhost.workspace.trash_emptier import empty_trash
from tests.integration.workspace.world import World


async def main(what: str, world: World) -> None:
    repository = discover_repository(world.target())
    match what:
        case "provision":
            await world.provision()
        case "destroy":
            await world.remove()
        case "empty":
            await empty_trash(world.tools.trash, wall_clock_ms())
        case "commit":
            assert repository is not None
            await commit_workspace(world.tools, repository, "by the daemon")
        case "merge":
            assert repository is not None
            facts = await note_merge_facts(world.tools, repository, "main", "by the daemon")
            await squash_merge(world.tools, repository, facts)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], World(Path(sys.argv[2]), Path(sys.argv[3])))
