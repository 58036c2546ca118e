"""The server that is measured, and its clients: no login, no heartbeat, no time limit.

The counts must not depend on the speed of the machine. The demo's own server gives its clients a
second to log in.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from aiohttp import ClientSession, ClientWebSocketResponse, TCPConnector, web
from strawberry.aiohttp.views import GraphQLView

from examples.demo.schema import Context, schema
from examples.demo.server import HOST, PATH
from examples.demo.visitor import TRANSPORT_WS, until
from strawberry_ws_otel import OTelConfig, OTelViewMixin

PATIENCE: Final = 300
"""Timeout of every wait, in seconds."""

AT_ONCE: Final = 20
"""How many clients connect at the same time."""


class View(OTelViewMixin, GraphQLView[Context, None]):
    """The ticker's schema, without a login."""


@asynccontextmanager
async def serving(segment_duration: float | None = None) -> AsyncIterator[str]:
    """Serve on a free port, perhaps with other segments; yield the address."""
    app = web.Application()
    view = View(schema=schema, connection_init_wait_timeout=timedelta(seconds=PATIENCE))
    if segment_duration is not None:
        view.otel_config = OTelConfig(segment_duration=segment_duration)
    app.router.add_route("*", PATH, view)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        yield f"http://{HOST}:{runner.addresses[0][1]}{PATH}"
    finally:
        await runner.cleanup()


def open_session() -> ClientSession:
    """Open a session that limits nothing."""
    return ClientSession(connector=TCPConnector(limit=0))


async def join(session: ClientSession, url: str) -> ClientWebSocketResponse:
    """Connect and log in."""
    socket = await session.ws_connect(url, protocols=[TRANSPORT_WS])
    await socket.send_json({"type": "connection_init"})
    await until(socket, "connection_ack")
    return socket
