"""The ticker's server: its view with login and heartbeat, and an orderly shutdown."""

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from typing import Final
from weakref import WeakSet

from aiohttp import WSCloseCode, web
from strawberry.aiohttp.views import GraphQLView
from strawberry.exceptions import ConnectionRejectionError

from examples.demo.names import USER_ID
from examples.demo.schema import Context, schema
from strawberry_ws_otel import OTelViewMixin, connection_attributes, open_connections

HOST: Final = "127.0.0.1"
PATH: Final = "/graphql"
CONNECTIONS_PATH: Final = "/connections"
HEARTBEAT: Final = 1.5
"""Seconds between two PINGs. A client has half of it for its PONG."""

INIT_TIMEOUT: Final = 1.0
MAX_MESSAGE_SIZE: Final = 64 * 1024

USERS: Final = {"token-of-ada": "ada", "token-of-grace": "grace"}
LOST_TOKEN: Final = "token-of-a-lost-session"  # noqa: S105 - the only secret of a demo is none

SOCKETS: Final = web.AppKey("sockets", WeakSet[web.WebSocketResponse])


class StoreDownError(Exception):
    """The session store did not answer."""


def user_of(token: object) -> str | None:
    """Return the user that a token belongs to, or None for a guest without a token."""
    if token == LOST_TOKEN:
        raise StoreDownError("the session store did not answer")
    if token is None:
        return None
    if token not in USERS:
        raise ConnectionRejectionError({"reason": "unknown token"})
    return USERS[str(token)]


class TickerView(OTelViewMixin, GraphQLView[Context, None]):
    """A view with its own login and its own sockets; the mixin needs no option for that."""

    async def on_ws_connect(self, context: Context) -> dict[str, object] | None:
        """Log the client in, and record the user of the connection and its operations."""
        params = context.get("connection_params")
        user = user_of(params.get("token") if isinstance(params, dict) else None)
        context["user"] = user
        connection_attributes({USER_ID: user or "guest"})
        return {"user": user}

    async def create_websocket_response(
        self, request: web.Request, subprotocol: str | None
    ) -> web.WebSocketResponse:
        """Set a heartbeat and a maximal message size, and remember the socket for the shutdown."""
        socket = web.WebSocketResponse(
            protocols=[subprotocol] if subprotocol else [],
            heartbeat=HEARTBEAT,
            max_msg_size=MAX_MESSAGE_SIZE,
        )
        await socket.prepare(request)
        request.app[SOCKETS].add(socket)
        return socket


async def close_websockets(app: web.Application) -> None:
    """Close every open socket with 1001: the server is going away."""
    sockets = app[SOCKETS]
    for socket in list(sockets):
        await socket.close(code=WSCloseCode.GOING_AWAY, message=b"Server shutdown")


async def connections(request: web.Request) -> web.Response:
    """Answer what is open now, to this machine only: a demo has no operators to log in.

    The transport knows the peer. `request.remote` is what a middleware may have put there.
    """
    peer = request.transport and request.transport.get_extra_info("peername")
    if not peer or not ip_address(peer[0]).is_loopback:
        raise web.HTTPForbidden
    return web.json_response([connection.as_dict() for connection in open_connections()])


def create_app(view_class: type[TickerView] = TickerView) -> web.Application:
    """Serve the ticker at `PATH`: queries and GraphiQL over HTTP, everything over a WebSocket.

    `CONNECTIONS_PATH` shows what is open now.
    """
    app = web.Application()
    sockets: WeakSet[web.WebSocketResponse] = WeakSet()
    app[SOCKETS] = sockets
    app.on_shutdown.append(close_websockets)
    view = view_class(schema=schema, connection_init_wait_timeout=timedelta(seconds=INIT_TIMEOUT))
    app.router.add_route("*", PATH, view)
    app.router.add_get(CONNECTIONS_PATH, connections)
    return app


class PortError(Exception):
    """The server cannot listen on the port that it was given."""


@dataclass(frozen=True)
class Server:
    """A server that listens; `stop` shuts it down in order, and may be called twice."""

    runner: web.AppRunner
    port: int

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{HOST}:{self.port}{PATH}"

    @property
    def connections_url(self) -> str:
        """Where it shows what is open now."""
        return f"http://{HOST}:{self.port}{CONNECTIONS_PATH}"

    async def stop(self) -> None:
        """Close the sockets and wait for their handlers."""
        await self.runner.cleanup()


@asynccontextmanager
async def serving(port: int, view_class: type[TickerView] = TickerView) -> AsyncIterator[Server]:
    """Listen on a port; 0 stands for any free port."""
    runner = web.AppRunner(create_app(view_class), access_log=None, shutdown_timeout=5)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, HOST, port).start()
        except OSError as error:
            raise PortError(f"Port {port} of {HOST} cannot be used: {reason_of(error)}.") from error
        yield Server(runner, runner.addresses[0][1])
    finally:
        await runner.cleanup()


def reason_of(error: OSError) -> str:
    """Say why a port cannot be used."""
    if error.errno == errno.EADDRINUSE:
        return "another program listens there, choose another one with --port"
    return error.strerror or str(error)
