"""Any view on a loopback port, for tests that bring a view and a schema of their own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import strawberry
from aiohttp import web
from strawberry.aiohttp.views import GraphQLView

from tests.support.loopback import on_loopback
from tests.support.raw_client import Client
from tests.support.scenarios.steps import TRANSPORT, subscribe
from tests.support.schema import TICKS
from tests.support.server import PATH
from tests.support.tls import TLS

SINCE_STREAMS = pytest.mark.skipif(
    not hasattr(strawberry.Schema, "stream"), reason="older hosts run their operations otherwise"
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Host:
    """A server, and those who talk to it."""

    def __init__(self, session: aiohttp.ClientSession, tls: TLS | None = None) -> None:
        self.session = session
        self._tls = None if tls is None else tls.client
        self.url = ""
        self.clients: list[Client] = []
        self._port = 0
        self._served: list[asyncio.Event] = []

    async def connect(
        self, protocol: str | None = TRANSPORT, headers: Mapping[str, str] | None = None
    ) -> Client:
        """A client that has asked for an upgrade and read the answer."""
        client = await Client.connect(self._port, protocol=protocol, headers=headers, tls=self._tls)
        self.clients.append(client)
        await client.shake_hands()
        return client

    async def acknowledged(
        self,
        protocol: str = TRANSPORT,
        headers: Mapping[str, str] | None = None,
        **init: object,
    ) -> Client:
        """A client whose init, with these further members, was accepted."""
        client = await self.connect(protocol, headers)
        client.json({"type": "connection_init", **init})
        await client.message("connection_ack")
        return client

    async def post(self, body: object, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """Status and body of the answer to a request over HTTP."""
        async with self.session.post(self.url, json=body, headers=headers) as response:
            is_json = response.content_type == "application/json"
            return response.status, await (response.json() if is_json else response.text())

    async def served(self) -> None:
        """Wait until the view is done with every request so far."""
        async with asyncio.timeout(20):
            for event in self._served:
                await event.wait()

    def listen(self, address: tuple[str, int]) -> None:
        self._port = address[1]
        self.url = f"http://127.0.0.1:{self._port}{PATH}"

    def watched(self, view: Handler) -> Handler:
        """The view, of which `served` knows when it is done."""

        async def handler(request: web.Request) -> web.StreamResponse:
            done = asyncio.Event()
            self._served.append(done)
            try:
                return await view(request)
            finally:
                done.set()

        return handler


@asynccontextmanager
async def hosting(
    view: Any, *middlewares: Any, handler_cancellation: bool = False, tls: TLS | None = None
) -> AsyncIterator[Host]:
    """Serve `view` until everybody has left and every handler is done, a minute at most.

    With `tls`, clients speak wss://.
    """
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        host = Host(session, tls)
        app = web.Application(middlewares=list(middlewares))
        app.router.add_route("*", PATH, host.watched(view))
        try:
            async with on_loopback(
                app,
                handler_cancellation=handler_cancellation,
                tls=None if tls is None else tls.server,
            ) as runner:
                host.listen(runner.addresses[0])
                try:
                    yield host
                finally:
                    for client in host.clients:
                        await client.leave()
        finally:
            await host.served()


async def part(client: Client) -> None:
    """Close normally, and wait for the end."""
    client.close(1000)
    await client.until_end()


async def one_subscription(view: GraphQLView[Any, Any]) -> None:
    """Serve one client, which subscribes, and leaves when its source has ended."""
    async with hosting(view) as host:
        client = await host.acknowledged()
        client.json(subscribe(client, "a", TICKS, variables={"to": 2}))
        await client.message("complete")
        await part(client)
