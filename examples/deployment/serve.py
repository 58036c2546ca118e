"""One process: `python -m examples.deployment.serve`, until SIGTERM or Ctrl-C.

PORT is where it listens. UVLOOP=1 runs it on uvloop.
"""

import asyncio
import os

from aiohttp import web

from examples.deployment.app import create_app
from examples.deployment.telemetry import Telemetry


def new_loop() -> asyncio.AbstractEventLoop:
    """Make the event loop."""
    if os.environ.get("UVLOOP") != "1":
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415  # only who asks for it needs it

    return uvloop.new_event_loop()


def main() -> None:
    """Serve, and export what is left when everybody has left."""
    telemetry = Telemetry()
    try:
        web.run_app(
            create_app(),
            host="127.0.0.1",
            port=int(os.environ.get("PORT", "8000")),
            shutdown_timeout=10,
            loop=new_loop(),
        )
    finally:
        telemetry.shut_down()


if __name__ == "__main__":
    main()
