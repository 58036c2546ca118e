"""A certificate of our own for wss:// on loopback, and who believes it."""

import ssl
from dataclasses import dataclass
from typing import Self

import trustme

NAME = "tests.local"
ADDRESS = "127.0.0.1"


@dataclass(frozen=True)
class TLS:
    """Both ends of it."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    pem: bytes
    """The server's private key and certificate, for a program that reads them from a file."""

    @classmethod
    def make(cls) -> Self:
        authority = trustme.CA()
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate = authority.issue_cert(NAME, ADDRESS)
        certificate.configure_cert(server)
        client = ssl.create_default_context()
        authority.configure_trust(client)
        return cls(server, client, certificate.private_key_and_cert_chain_pem.bytes())
