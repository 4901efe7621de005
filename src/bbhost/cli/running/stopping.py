"""``bbhost stop``."""

import trio

from bbhost.cli.control import ask_daemon
from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.daemon.config import Config
from bbhost.daemon.lock import lock_owner

STOP_SECONDS = 15.0
"""A daemon stops within five; on a machine that is overloaded it may take longer."""
LOOK_SECONDS = 0.05


async def stop_daemon(config: Config) -> int:
    """Ask the daemon to stop; return its pid once it has let go of the data directory.

    Raises:
        CommandError: none runs, or it does not stop in time.
    """
    pid = lock_owner(config.data_dir)
    if pid is None:
        raise CommandError(Outcome.NOT_FOUND, f"No daemon runs on {config.data_dir}")
    await ask_daemon(config, "POST", "/stop")
    with trio.move_on_after(STOP_SECONDS):
        # The end of a process that is not our child can only be looked for.
        while lock_owner(config.data_dir) == pid:  # noqa: ASYNC110
            await trio.sleep(LOOK_SECONDS)
        return pid
    raise CommandError(
        Outcome.TIMEOUT, f"The daemon (pid {pid}) has not stopped; kill {pid} ends it"
    )
