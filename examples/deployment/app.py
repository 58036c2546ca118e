"""The quickstart's schema as an application that can be stopped and runs behind a proxy."""

import asyncio
from typing import Any, Final
from weakref import WeakSet

from aiohttp import WSCloseCode, web
from strawberry.aiohttp.views import GraphQLView

from examples.deployment.forwarded import forwarded
from examples.quickstart import schema
from strawberry_ws_otel import OTelViewMixin

SOCKETS: Final = web.AppKey("sockets", WeakSet[web.WebSocketResponse])
HEARTBEAT: Final = 20
"""Seconds between two PINGs: less than the proxy's idle timeout."""


class View(OTelViewMixin, GraphQLView[Any, Any]):
    """Strawberry's view, observed, which remembers its sockets for the shutdown."""

    async def create_websocket_response(
        self, request: web.Request, subprotocol: str | None
    ) -> web.WebSocketResponse:
        """Give the client a heartbeat, and remember its socket."""
        ws = web.WebSocketResponse(
            protocols=[subprotocol] if subprotocol else [], heartbeat=HEARTBEAT
        )
        await ws.prepare(request)
        request.config_dict[SOCKETS].add(ws)
        return ws


async def close_websockets(app: web.Application) -> None:
    """Close every socket with 1001; otherwise aiohttp waits until the clients leave."""
    closes = [
        ws.close(code=WSCloseCode.GOING_AWAY, message=b"Server shutdown") for ws in app[SOCKETS]
    ]
    await asyncio.gather(*closes)


async def create_app() -> web.Application:
    """Serve the schema at /graphql, over HTTP and WebSockets."""
    app = web.Application(middlewares=[forwarded])
    app[SOCKETS] = WeakSet()
    app.on_shutdown.append(close_websockets)
    app.router.add_route("*", "/graphql", View(schema=schema))
    return app
