"""Run as a program: a keeper that starts survivors, says so and waits to be killed.

Arguments: data directory, ``cgroup`` or ``subreaper``, token. Prints the journal's records as JSON.
"""

import json
import subprocess
import sys
from pathlib import Path

import attrs
import trio

from bbhost.processes.keeper import ProcessKeeper
from bbhost.processes.records import ProcessRecord

SCRIPTS = [
    "echo ready; trap '' TERM; while :; do sleep 1; done",
    "setsid env -i PATH=$PATH bash -c 'echo ready; sleep 300; :' $1 & exit 0",
    "setsid bash -c 'echo ready; kill -STOP $$; sleep 300' $1 & wait",
]


async def main() -> None:
    data_dir, backend, token = sys.argv[1:]
    records: list[ProcessRecord] = []
    keeper = ProcessKeeper(
        Path(data_dir), use_cgroup=backend == "cgroup", on_started=records.append
    )
    for number, script in enumerate(SCRIPTS):
        boundary = keeper.open_boundary(f"env{number}", 1)
        child = await boundary.open_process(
            ["bash", "-c", script, "bash", token], cwd=data_dir, stdout=subprocess.PIPE
        )
        await child.stdout.receive_some(100)
    print(json.dumps([attrs.asdict(record) for record in records]), flush=True)
    await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main)
