"""Settings of a hub. Values only; every bound and interval of the hub has its name here."""

from pathlib import Path

from attrs import frozen


@frozen
class HubTimings:
    """Intervals and deadlines. The defaults are those of the wire contract where it has them."""

    heartbeat_interval_ms: int = 5_000
    lease_timeout_ms: int = 30_000
    """A session whose socket said nothing for this long is dead."""
    sweep_seconds: float = 10.0
    """How often leases, unanswered commands and failed destroys are looked at."""
    redelivery_seconds: float = 60.0
    """A command fetched and unanswered for this long is handed out once more, then given up."""
    provision_redelivery_seconds: float = 1_200.0
    """The same for ``environment.provision``, whose set-up script may take long."""
    request_seconds: float = 30.0
    """How long a public request waits for the daemon before it answers 504."""
    destroy_retry_seconds: float = 10.0
    """Wait before a failed destroy is tried again; doubles up to ``destroy_retry_longest_seconds``."""
    destroy_retry_longest_seconds: float = 300.0
    terminal_open_seconds: float = 10.0
    """How long a terminal may take to open before it counts as ``open-timeout``."""
    terminal_grace_seconds: float = 60.0
    """After a lost session, its terminals wait this long for the daemon to come back with them."""
    interaction_grace_seconds: float = 5.0
    """After a lost socket, pending interactions live this long in case the daemon comes back."""
    long_poll_longest_seconds: float = 60.0
    """Bound of ``waitMs`` on every route that has it."""
    enroll_key_seconds: float = 900.0
    settled_retention_seconds: float = 86_400.0
    """How long settled commands are remembered, so that a late or second report is recognised."""
    header_seconds: float = 15.0
    """A connection that has not sent a whole request head by then, or idles this long, is closed."""
    body_seconds: float = 30.0
    """A request body that has not arrived by then is answered 408."""
    write_seconds: float = 20.0
    """A client that takes no byte of an answer or message for this long is disconnected."""
    linger_seconds: float = 1.0
    """How long a connection may outlive the handler that has finished with it early."""
    keepalive_seconds: int = 60
    """How long a connection may be silent before the kernel asks whether the peer is there."""


@frozen
class HubLimits:
    """Bounds. What happens at each is said beside it."""

    connections: int = 512
    """Open connections; further ones are closed as soon as they are accepted."""
    public_body_bytes: int = 2 * 1024 * 1024
    """Larger public request bodies are answered 413."""
    internal_body_bytes: int = 48 * 1024 * 1024
    """The same for daemons, whose results carry whole files in base64."""
    attachment_bytes: int = 25 * 1024 * 1024
    """Larger uploads are answered 413."""
    websocket_message_bytes: int = 8 * 1024 * 1024
    """Larger messages close the socket (1009). A terminal's whole replay fits."""
    public_message_bytes: int = 128 * 1024
    """The same for messages of public sockets."""
    socket_backlog_messages: int = 512
    """Messages waiting for a daemon that does not read; at the bound its socket is closed."""
    subscriber_backlog: int = 1_024
    """Notifications waiting for a public socket; at the bound it is closed with 1013."""
    terminal_backlog_characters: int = 1024 * 1024
    """Terminal output waiting for one viewer; at the bound output is left out until it catches up."""
    terminals: int = 512
    """Open terminals; further ones are refused with 503 ``hub_busy``."""
    exited_terminals: int = 100
    """Exited terminals that are remembered; at the bound the oldest is forgotten."""
    waiting_requests: int = 2_048
    """Public requests waiting for daemons at once; further ones are answered 503 ``hub_busy``."""
    event_page: int = 1_000
    """Most events one page or one stream step carries."""


@frozen
class HubConfig:
    """Where a hub listens, what it remembers and whom it lets in.

    ``token_file`` None means no token is asked for, which is refused unless ``host`` is a loopback
    address. The default keeps the token beside the database.
    """

    data_dir: Path
    """Absolute; made with mode 0700 where missing. Holds ``hub.db``, ``hub-token`` and attachments."""
    host: str = "127.0.0.1"
    port: int = 38_886
    """0 picks a free port; ``run_hub`` hands back the one it got."""
    require_token: bool = True
    token_file: Path | None = None
    """Defaults to ``<data_dir>/hub-token``."""
    allowed_hosts: tuple[str, ...] = ()
    """Names beside the loopback ones that a ``Host`` header may carry, with or without a port."""
    allowed_origins: tuple[str, ...] = ()
    """Origins beside the hub's own, such as ``https://bb.example``."""
    timings: HubTimings = HubTimings()
    limits: HubLimits = HubLimits()

    @property
    def database_path(self) -> Path:
        """Where the SQLite file is."""
        return self.data_dir / "hub.db"

    @property
    def attachments_dir(self) -> Path:
        """Where uploaded attachments are kept."""
        return self.data_dir / "attachments"

    @property
    def token_path(self) -> Path:
        """Where the access token is kept."""
        return self.token_file or self.data_dir / "hub-token"
