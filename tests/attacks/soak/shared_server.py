"""One server that many scenarios visit at once, each on a path of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Final

from aiohttp import web

from tests.support.cases import Arm, Case
from tests.support.loopback import on_loopback
from tests.support.server import PATH, PlainView, Server, Setup, make_view

HEARTBEAT: Final = 6.0
"""Seconds in place of a scenario's own, within which a busy machine may be late with the rest."""

ECHO: Final = 60.0
"""Seconds for which the server waits for the answer to its close, unless a scenario says less."""

BACKLOG: Final = 4096

visited: Final[ContextVar[Server]] = ContextVar("visited")
"""What the scenario that the running code serves sees of the server."""


def patient(setup: Setup) -> Setup:
    """The setup, with a time for what has to happen that a busy machine keeps to."""
    socket = {"timeout": ECHO, **setup.socket}
    if "heartbeat" in socket:
        socket["heartbeat"] = HEARTBEAT
    return replace(setup, socket=socket)


class Views:
    """A view for each setup of views, which serves every connection that wants this one."""

    def __init__(self, arm: Arm) -> None:
        self._arm = arm
        self._views: dict[Any, PlainView] = {}

    def of(self, setup: Setup) -> PlainView:
        """The view that a setup asks for."""
        key = frozenset(setup.view.items()), frozenset(setup.members.items())
        if key not in self._views:
            arm = self._arm
            self._views[key] = make_view(setup, arm.view_class, arm.extensions, visited.get)
        return self._views[key]


class Venue:
    """Where the scenarios of a round take place."""

    def __init__(self, views: Views) -> None:
        self.present = 0
        """Connections that are being served."""
        self.most = 0
        """The most that were, at any time."""
        self.ports: dict[bool, int] = {}
        """The port for each setting of aiohttp's `handler_cancellation`."""
        self._views = views
        self._guests: dict[str, Server] = {}
        self._settled = asyncio.Semaphore(0)
        self._stopped = asyncio.Event()

    def admit(self, name: str, case: Case) -> Server:
        """Let a scenario in, under a path that nobody else has."""
        server = Server(
            replace(patient(case.scenario.setup), handler_cancellation=case.handler_cancellation)
        )
        server.path = f"{PATH}/{name}"
        server.port = self.ports[case.handler_cancellation]
        server.shutdown = self._stops
        self._guests[name] = server
        return server

    def settle(self) -> None:
        """Say of one scenario that it is over, or can go on only when the server stops."""
        self._settled.release()

    async def settled(self, count: int) -> None:
        """Wait until that is true of so many."""
        for _ in range(count):
            await self._settled.acquire()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve whom the path names."""
        server = self._guests[request.match_info["name"]]
        visited.set(server)
        self.present += 1
        self.most = max(self.most, self.present)
        try:
            return await server.watch(request, self._views.of(server.setup))
        finally:
            self.present -= 1

    async def say_goodbye(self, *, handler_cancellation: bool) -> None:
        """Do what each scenario has the application do on shutdown."""
        await asyncio.gather(
            *(
                server.setup.on_shutdown(server)
                for server in self._guests.values()
                if server.setup.handler_cancellation == handler_cancellation
            )
        )

    async def leave(self) -> None:
        """See everybody off."""
        self._stopped.set()
        for server in self._guests.values():
            for client in server.clients:
                await client.leave()
            await asyncio.gather(*server.handlers, return_exceptions=True)
            server.forget()

    async def _stops(self) -> None:
        self.settle()
        await self._stopped.wait()


@asynccontextmanager
async def opened(views: Views) -> AsyncIterator[Venue]:
    """A server until the end of the block, where it stops under whoever is still there."""
    venue = Venue(views)
    try:
        async with AsyncExitStack() as stack:
            for cancelling in (False, True):
                app = _application(venue, cancelling=cancelling)
                runner = await stack.enter_async_context(
                    on_loopback(app, backlog=BACKLOG, handler_cancellation=cancelling)
                )
                venue.ports[cancelling] = runner.addresses[0][1]
            yield venue
    finally:
        await venue.leave()


def _application(venue: Venue, *, cancelling: bool) -> web.Application:
    app = web.Application()
    app.router.add_route("*", PATH + "/{name}", venue.handle)

    async def say_goodbye(_app: web.Application) -> None:
        await venue.say_goodbye(handler_cancellation=cancelling)

    app.on_shutdown.append(say_goodbye)
    return app
