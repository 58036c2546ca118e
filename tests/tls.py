"""A certificate of our own for wss:// on loopback, and who believes it."""

import ssl
from dataclasses import dataclass
from typing import Self

import trustme

NAME = "tests.local"


@dataclass(frozen=True)
class TLS:
    """Both ends of it."""

    server: ssl.SSLContext
    client: ssl.SSLContext

    @classmethod
    def make(cls) -> Self:
        authority = trustme.CA()
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(NAME).configure_cert(server)
        client = ssl.create_default_context()
        authority.configure_trust(client)
        return cls(server, client)
