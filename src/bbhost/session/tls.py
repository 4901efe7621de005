"""The TLS settings of all connections to the server."""

import ssl

from bbhost.session.server_url import ServerUrl


def client_tls(url: ServerUrl) -> ssl.SSLContext | None:
    """The system's trust store for https; None for http, where loading it would cost memory.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` name another store, as everywhere with OpenSSL.
    """
    return ssl.create_default_context() if url.is_secure else None
