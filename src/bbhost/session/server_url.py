"""The server's address, in the form in which it is used and told to others."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from attrs import frozen

from bbhost.errors import ConfigError


@frozen
class ServerUrl:
    """An ``http`` or ``https`` address without a trailing slash."""

    text: str
    host: str
    is_secure: bool

    @property
    def internal(self) -> str:
        """Beginning of every address that only daemons use."""
        return f"{self.text}/internal"

    @property
    def websocket(self) -> str:
        """Address of the socket, without its query."""
        scheme, rest = self.text.split(":", 1)
        return f"{'wss' if scheme == 'https' else 'ws'}:{rest}/internal/ws"

    @property
    def is_private(self) -> bool:
        """Nobody on the way can read what is sent: it is encrypted, or it stays on this machine."""
        return self.is_secure or is_loopback(self.host)


def parse_server_url(text: str | None) -> ServerUrl:
    """Normalise the configured address: ``localhost`` becomes 127.0.0.1, no trailing slash.

    Raises:
        ConfigError: there is none, or it is not an http or https address.
    """
    if text is None or not text.strip():
        raise ConfigError("no server URL: give --server-url or set BB_SERVER_URL")
    address = text.strip().rstrip("/")
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"server URL {text!r} is not an address: {error}") from error
    if parts.scheme not in {"http", "https"} or not host:
        raise ConfigError(f"server URL {text!r} must begin with http:// or https://")
    if parts.username or parts.query or parts.fragment:
        raise ConfigError(f"server URL {text!r} must hold no user, query or fragment")
    if host == "localhost":
        # "localhost" may resolve to ::1 first, where most servers do not listen.
        host = "127.0.0.1"
    shown = f"[{host}]" if ":" in host else host
    where = f"{shown}:{port}" if port is not None else shown
    return ServerUrl(
        f"{parts.scheme}://{where}{parts.path}", host, is_secure=parts.scheme == "https"
    )


def is_loopback(host: str) -> bool:
    """Whether ``host`` is an address of this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
