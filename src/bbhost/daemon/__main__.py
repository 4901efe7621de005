"""``python -m bbhost.daemon``: the daemon alone, without the command line's memory."""

import argparse
import logging
import os
import signal
import sys
from pathlib import Path

import trio

import bbhost.daemon.tidy_imports  # noqa: F401 - it begins with being imported, before the others
from bbhost import __version__
from bbhost.daemon.config import SETTINGS, Config, load_config
from bbhost.daemon.logs import set_up_logs
from bbhost.daemon.memory import bound_heap, settle_memory
from bbhost.daemon.notify import Notifier, take_notifier
from bbhost.daemon.restart.descriptors import take_descriptors
from bbhost.daemon.run import run_daemon
from bbhost.daemon.stopping import StopRequest
from bbhost.errors import BbhostError, ConfigError
from bbhost.processes.spawn import let_children_be_interrupted
from bbhost.toolkit.groups import leaves, split_cancelled
from bbhost.toolkit.tick import Tick
from bbhost.toolkit.umask import keep_files_private

log = logging.getLogger("bbhost.daemon")

EXIT_OK = 0
EXIT_FAILED = 1
"""It could not start, or a part of it failed; starting it again may help."""
EXIT_CONFIGURATION = 78
"""A setting or an identity file is wrong; starting it again cannot help (EX_CONFIG)."""
EXIT_FORCED = 130
SERVICE_MANAGER_VARIABLE = "BBHOST_SERVICE_MANAGER"
"""Set in the service's definition where the daemon has to know who runs it."""


def parse_flags(argv: list[str]) -> dict[str, str | None]:
    """Turn ``--server-url X`` and its like into settings by name."""
    parser = argparse.ArgumentParser(
        prog="bbhost daemon",
        description="Run the host daemon in the foreground until SIGTERM or SIGINT.",
        epilog="Each setting may also come from the variable BBHOST_NAME, for most from the one "
        "that the original daemon reads (as BB_SERVER_URL), or from the configuration file.",
    )
    parser.add_argument("--version", action="version", version=f"bbhost {__version__}")
    for setting in SETTINGS:
        flag = f"--{setting.name.replace('_', '-')}"
        parser.add_argument(flag, dest=setting.name, metavar="VALUE", help=setting.help)
    return vars(parser.parse_args(argv))


def main(argv: list[str] | None = None) -> int:
    """Run the daemon; return its exit code."""
    try:
        config = load_config(parse_flags(sys.argv[1:] if argv is None else argv))
    except ConfigError as error:
        print(f"bbhost: {error.message}", file=sys.stderr)  # noqa: T201 - logs are not set up yet
        return exit_code_for(EXIT_CONFIGURATION)
    file = config.get("log_file")
    set_up_logs(config.get("log_level"), config.get("log_format"), Path(file) if file else None)
    keep_files_private()
    let_children_be_interrupted()
    bound_heap()
    settle_memory()
    return exit_code_for(trio.run(_run, config, take_notifier(), take_descriptors()))


def exit_code_for(code: int) -> int:
    """Give a service manager the code that makes it do the right thing.

    launchd knows no codes that prevent a restart: it starts again whatever did not end with 0, and a
    wrong setting is still wrong ten seconds later.
    """
    if code == EXIT_CONFIGURATION and os.environ.get(SERVICE_MANAGER_VARIABLE) == "launchd":
        log.error("ending with 0 instead of %d, so that launchd does not start this again", code)
        return EXIT_OK
    return code


async def _run(config: Config, notifier: Notifier, descriptors: dict[str, int]) -> int:
    stop, reload = StopRequest(), Tick()
    code = EXIT_OK
    async with trio.open_nursery() as nursery:
        await nursery.start(_follow_signals, stop, reload, nursery.cancel_scope)
        try:
            await run_daemon(config, stop, reload, notifier, descriptors)
        except Exception as error:
            code = _report(error)
        except trio.Cancelled:
            code = EXIT_FORCED
            raise
        except BaseExceptionGroup as group:
            # How a cancellation comes out of nurseries, with what failed over it.
            code = EXIT_FORCED
            cancelled, faults = split_cancelled(group)
            if faults is not None:
                _report(faults)
            if cancelled is not None:
                raise cancelled  # noqa: B904 - not because of the faults
        finally:
            nursery.cancel_scope.cancel()
    return code


def _report(error: Exception) -> int:
    """Say why the daemon ends: an expected fault in one sentence, a defect with its traceback."""
    faults = [leaf for leaf in leaves(error) if isinstance(leaf, BbhostError)]
    if len(faults) != len(list(leaves(error))):
        log.error("the daemon failed", exc_info=error)
        return EXIT_FAILED
    for fault in faults:
        log.error("%s", fault.message)
    wrong = any(isinstance(fault, ConfigError) for fault in faults)
    return EXIT_CONFIGURATION if wrong else EXIT_FAILED


async def _follow_signals(
    stop: StopRequest,
    reload: Tick,
    everything: trio.CancelScope,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """The first SIGTERM or SIGINT drains, the second forces. SIGHUP reloads.

    Where the daemon has a terminal, SIGHUP says that it has been closed, and counts as SIGTERM.
    """
    hangup_stops = _has_terminal()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        task_status.started()
        async for number in signals:
            if number == signal.SIGHUP and not hangup_stops:
                reload.set()
                continue
            if stop.event.is_set():
                log.warning("second %s: stopping at once", signal.Signals(number).name)
                everything.cancel(reason="a second signal")
            stop.set(f"received {signal.Signals(number).name}")


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
