"""The server under test: a view on a loopback port, with or without the library.

Both arms run the same code up to the mixin and the extension. What the host does is recorded in
the same way in both: every call of `close` in the class of the socket, below anything that is
shadowed on an instance.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from strawberry import UNSET
from strawberry.aiohttp.views import GraphQLView

from tests.support.loopback import on_loopback
from tests.support.raw_client import Client
from tests.support.schema import make_schema
from tests.support.tls import TLS

PATH = "/graphql"
Hook = Callable[["Server"], Awaitable[Any]]


async def nothing(_server: "Server") -> None:
    """What a hook does unless a scenario says otherwise."""


async def accept(_server: "Server") -> Any:
    """What `on_ws_connect` does unless a scenario says otherwise."""
    return UNSET


async def wait(server: "Server") -> None:
    """Hold the server until the scenario opens the gate."""
    await server.gate.wait()


async def wait_and_accept(server: "Server") -> Any:
    await wait(server)
    return UNSET


def returns(value: Any) -> Hook:
    async def hook(_server: "Server") -> Any:
        return value

    return hook


def raises(error: type[Exception], *arguments: Any) -> Hook:
    """A hook that fails."""

    async def hook(_server: "Server") -> None:
        raise error(*arguments)

    return hook


class Socket(web.WebSocketResponse):
    """A socket that keeps the arguments of each `close`, aiohttp's own included."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.closes: list[tuple[int, bytes]] = []

    async def close(self, *, code: int = 1000, message: bytes = b"", drain: bool = True) -> bool:
        self.closes.append((int(code), message))
        return await super().close(code=code, message=message, drain=drain)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How the server of a scenario differs from the default one."""

    handler_cancellation: bool = False
    socket_class: type[Socket] = Socket
    socket: Mapping[str, Any] = field(default_factory=dict)
    view: Mapping[str, Any] = field(default_factory=dict)
    members: Mapping[str, Any] = field(default_factory=dict)
    root_value: Hook = nothing
    context: Hook = nothing
    connect: Hook = accept
    on_shutdown: Hook = nothing
    pages: Callable[[web.Application], None] | None = None
    tls: TLS | None = None


class Gate:
    """A place in the application at which a scenario can meet the server and hold it."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def wait(self) -> None:
        self.reached.set()
        await self.opened.wait()


class Server:
    """What a scenario sees of the server."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.port = 0
        self.path = PATH
        self.gate = Gate()
        self.ended = asyncio.Event()
        self.handlers: list[asyncio.Task[Any]] = []
        self.requests: list[web.Request] = []
        self.sockets: list[Socket] = []
        self.closes: list[list[tuple[int, bytes]]] = []
        self.clients: list[Client] = []
        self.shutdown: Callable[[], Awaitable[None]]

    @property
    def socket(self) -> Socket:
        return self.sockets[-1]

    async def connect(self, *, protocol: str | None, headers: Mapping[str, str]) -> Client:
        tls = self.setup.tls
        client = await Client.connect(
            self.port,
            protocol=protocol,
            headers=headers,
            path=self.path,
            tls=None if tls is None else tls.client,
        )
        self.clients.append(client)
        return client

    def forget(self) -> None:
        """Keep what the host did, and nothing of the host, so that it can be collected."""
        self.closes = [socket.closes for socket in self.sockets]
        for things in (self.handlers, self.requests, self.sockets):
            things.clear()

    async def notices(self) -> None:
        """Wait until the server knows that the transport is gone, which it announces to nobody."""
        while self.requests[-1].transport is not None:  # noqa: ASYNC110  # there is no event
            await asyncio.sleep(0)

    @web.middleware
    async def watch(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.path != self.path:
            return await handler(request)
        task = asyncio.current_task()
        assert task is not None
        self.handlers.append(task)
        self.requests.append(request)
        try:
            return await handler(request)
        finally:
            self.ended.set()


class PlainView(GraphQLView[Any, Any]):
    """A view whose hooks are those of the scenario that visits it."""

    def __init__(self, visited: Callable[[], Server], **options: Any) -> None:
        super().__init__(**options)
        self._visited = visited

    @property
    def server(self) -> Server:
        """What the scenario of this connection sees."""
        return self._visited()

    async def create_websocket_response(
        self, request: web.Request, subprotocol: str | None
    ) -> web.WebSocketResponse:
        options = {"timeout": 5.0} | dict(self.server.setup.socket)
        socket_class = self.server.setup.socket_class
        socket = socket_class(protocols=[subprotocol] if subprotocol else [], **options)
        self.server.sockets.append(socket)
        await socket.prepare(request)
        return socket

    async def get_root_value(self, request: web.Request) -> Any:
        return await self.server.setup.root_value(self.server)

    async def get_context(
        self, request: web.Request, response: web.Response | web.WebSocketResponse
    ) -> Any:
        await self.server.setup.context(self.server)
        return {"request": request, "response": response}

    async def on_ws_connect(self, context: Any) -> Any:
        return await self.server.setup.connect(self.server)


def make_view(
    setup: Setup,
    view_class: type[PlainView],
    extensions: tuple[Any, ...],
    visited: Callable[[], Server],
) -> PlainView:
    """The view of that class that a setup asks for."""
    view_class = type(view_class.__name__, (view_class,), dict(setup.members))
    options = {"keep_alive_interval": 3600, **setup.view}
    return view_class(visited, schema=make_schema(*extensions), **options)


@asynccontextmanager
async def serving(
    setup: Setup,
    view_class: type[PlainView] = PlainView,
    extensions: tuple[Any, ...] = (),
) -> AsyncIterator[Server]:
    """Serve on a free loopback port, and see every handler off at the end."""
    server = Server(setup)
    view = make_view(setup, view_class, extensions, lambda: server)
    app = web.Application(middlewares=[server.watch])
    app.router.add_route("*", PATH, view)
    if setup.pages is not None:
        setup.pages(app)
    app.on_shutdown.append(lambda _app: setup.on_shutdown(server))
    tls = None if setup.tls is None else setup.tls.server
    cancelling = setup.handler_cancellation
    try:
        async with on_loopback(app, tls=tls, handler_cancellation=cancelling) as runner:
            server.shutdown = runner.cleanup
            server.port = runner.addresses[0][1]
            try:
                yield server
            finally:
                for client in server.clients:
                    await client.leave()
    finally:
        await asyncio.gather(*server.handlers, return_exceptions=True)
        server.forget()
