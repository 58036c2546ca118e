"""One process: `python -m examples.deployment.serve`, until SIGTERM or Ctrl-C.

PORT is the port to listen on. UVLOOP=1 uses uvloop. CERTIFICATE is a PEM file with a private key
and its certificates, and turns on TLS.
"""

import asyncio
import logging
import os
import ssl

from aiohttp import web

from examples.deployment.app import create_app
from examples.deployment.log import with_ids
from examples.deployment.telemetry import Telemetry


def new_loop() -> asyncio.AbstractEventLoop:
    """Make the event loop."""
    if os.environ.get("UVLOOP") != "1":
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415  # needed with UVLOOP=1 only

    return uvloop.new_event_loop()


def tls() -> ssl.SSLContext | None:
    """Load the certificate, if there is one."""
    certificate = os.environ.get("CERTIFICATE")
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


def main() -> None:
    """Serve, and export what is left after all clients have left."""
    logging.basicConfig(handlers=[with_ids(logging.StreamHandler())])
    telemetry = Telemetry()
    try:
        web.run_app(
            create_app(),
            host="127.0.0.1",
            port=int(os.environ.get("PORT", "8000")),
            shutdown_timeout=10,
            ssl_context=tls(),
            loop=new_loop(),
        )
    finally:
        telemetry.shut_down()


if __name__ == "__main__":
    main()
