"""Where a command goes: which data directory, which server, with which token."""

import os
from pathlib import Path

from attrs import frozen

from bbhost.cli.hub_file import read_hub_file
from bbhost.cli.outcomes import CommandError, Outcome
from bbhost.daemon.config import Config, load_config
from bbhost.errors import ConfigError

MAX_TOKEN_BYTES = 4_096


@frozen
class Server:
    """A hub and the credential for it."""

    url: str
    token: str | None


@frozen
class Place:
    """What the user said about where, on the command line; None where nothing."""

    server: str | None = None
    token_file: Path | None = None
    data_dir: str | None = None

    def config(self) -> Config:
        """Gather the settings of the daemon of this place.

        Raises:
            ConfigError: a setting cannot be understood.
        """
        return load_config({"data_dir": self.data_dir, "server_url": self.server})

    def find_server(self) -> Server:
        """Return the hub to ask: flag, BBHOST_SERVER_URL, the running ``bbhost up``.

        The token comes from BBHOST_TOKEN, else the file of --token-file or BBHOST_TOKEN_FILE, else
        the file that the running ``bbhost up`` names, which is only sent to that hub.

        Raises:
            CommandError: no hub is known.
            ConfigError: a file of it cannot be read.
        """
        config = self.config()
        running = read_hub_file(config.data_dir)
        url = self.server or os.environ.get("BBHOST_SERVER_URL", "").strip()
        if not url:
            if running is None:
                raise CommandError(
                    Outcome.UNREACHABLE,
                    f"No hub is known for {config.data_dir}: run 'bbhost up' (in another terminal), "
                    "or name a hub with --server",
                )
            url = running.url
        url = url.rstrip("/")
        return Server(
            url, self._token(running.token_file if running and running.url == url else None)
        )

    def _token(self, running: str | None) -> str | None:
        token = os.environ.get("BBHOST_TOKEN", "").strip()
        if token:
            return token
        named = self.token_file or os.environ.get("BBHOST_TOKEN_FILE", "").strip() or running
        return read_token(Path(named)) if named else None


def read_token(path: Path) -> str:
    """Return the token in a file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_TOKEN_BYTES).decode("ascii", "replace").strip()
    except OSError as error:
        raise ConfigError(f"the token file {path} cannot be read: {error.strerror}") from error
