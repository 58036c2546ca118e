"""The one way in which tests serve an application: on free ports of loopback."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def on_loopback(  # noqa: PLR0913  # options of aiohttp
    app: web.Application,
    *,
    ports: int = 1,
    tls: ssl.SSLContext | None = None,
    backlog: int = 128,
    shutdown_timeout: float = 0.05,
    handler_cancellation: bool = False,
) -> AsyncIterator[web.AppRunner]:
    """Serve an application; `addresses` of the runner are where."""
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=shutdown_timeout,
        handler_cancellation=handler_cancellation,
    )
    await runner.setup()
    try:
        for _ in range(ports):
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls, backlog=backlog)
            await site.start()
        yield runner
    finally:
        await runner.cleanup()
