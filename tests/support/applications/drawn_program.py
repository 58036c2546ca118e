"""A program for tests: the quickstart's application, with its conversations on the terminal.

`code` calls `show()`, `environment` lets the SDK configure itself, as `opentelemetry-instrument`
does. It prints its port, and serves until its standard input ends.
"""

import asyncio
import sys
from typing import Any

from aiohttp import web
from opentelemetry.sdk._configuration import _OTelSDKConfigurator

from examples.quickstart import create_app
from strawberry_ws_otel.console import show


async def serve() -> None:
    """Serve until nobody listens to it any more."""
    runner = web.AppRunner(create_app(), shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


def main() -> None:
    """Set up what is drawn, and serve."""
    if sys.argv[1] == "code":
        show()
    else:
        configurator: Any = _OTelSDKConfigurator
        configurator().configure()
    asyncio.run(serve())


if __name__ == "__main__":
    main()
