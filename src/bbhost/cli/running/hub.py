"""``bbhost hub``."""

from pathlib import Path

import trio

from bbhost.cli.hub_file import HubFile, remove_hub_file, write_hub_file
from bbhost.cli.printing import clean, note, say, say_json
from bbhost.cli.running.signals import cancel_on_signal
from bbhost.daemon.logs import set_up_logs
from bbhost.hub.config import HubConfig
from bbhost.hub.run import HubAddress, run_hub


def hub_config(data_dir: Path, host: str, port: int, names: tuple[str, ...] = ()) -> HubConfig:
    """Return the settings of the hub of a data directory; it keeps its files in ``hub/``."""
    return HubConfig(data_dir / "hub", host=host, port=port, allowed_hosts=names)


def announce(
    data_dir: Path, config: HubConfig, address: HubAddress, host_id: str, pid: int
) -> None:
    """Leave word for the other commands where the hub is."""
    write_hub_file(data_dir, HubFile(address.url, str(config.token_path), pid, host_id))


async def run_hub_alone(
    data_dir: Path, host: str, port: int, names: tuple[str, ...], *, as_json: bool
) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        BbhostError, OSError: it cannot be started.
    """
    import os

    set_up_logs("info", "auto", None)
    config = hub_config(data_dir, host, port, names)
    async with trio.open_nursery() as nursery:
        await nursery.start(cancel_on_signal, nursery.cancel_scope)
        address: HubAddress = await nursery.start(run_hub, config)
        announce(data_dir, config, address, "", os.getpid())
        try:
            if as_json:
                say_json(
                    {"outcome": "ok", "url": address.url, "tokenFile": str(config.token_path)}
                )
            else:
                say(f"The hub listens on {clean(address.url)}")
                note(f"Its token is in {clean(config.token_path)}. Ctrl-C stops it.")
            await trio.sleep_forever()
        finally:
            remove_hub_file(data_dir, os.getpid())
