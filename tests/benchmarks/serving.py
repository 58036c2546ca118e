"""One arm on a loopback port."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from tests.benchmarks.arms import Arm, application
from tests.benchmarks.pipes import Pipe
from tests.benchmarks.schema import Feed, Stopwatch
from tests.support.loopback import on_loopback

PATH: Final = "/graphql"
CLIENT: Final = "tests.benchmarks.client"
"""The process that asks for work."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Served:
    """An arm that is being served."""

    def __init__(self, arm: Arm, pipe: Pipe, stopwatch: Stopwatch, feed: Feed) -> None:
        self.arm = arm
        self.pipe = pipe
        self.stopwatch = stopwatch
        self.feed = feed
        self.ports: list[int] = []
        self._ended = asyncio.Semaphore(0)

    @property
    def url(self) -> str:
        """Where it is served, at its first port."""
        return f"http://127.0.0.1:{self.ports[0]}{PATH}"

    def watched(self, view: Handler) -> Handler:
        """The view, of which `ended` knows when it is done."""

        async def handler(request: web.Request) -> web.StreamResponse:
            try:
                return await view(request)
            finally:
                self._ended.release()

        return handler

    async def ended(self, connections: int) -> None:
        """Wait until the view is done with so many further connections."""
        for _ in range(connections):
            await self._ended.acquire()


@asynccontextmanager
async def serving(arm: Arm, ports: int = 1) -> AsyncIterator[Served]:
    """Serve an arm on so many free loopback ports until the end of the block."""
    stopwatch, feed = Stopwatch(), Feed()
    app, view, pipe = application(arm, stopwatch, feed)
    served = Served(arm, pipe, stopwatch, feed)
    app.router.add_route("*", PATH, served.watched(view))
    async with on_loopback(app, ports=ports, backlog=4096, shutdown_timeout=1) as runner:
        served.ports = [address[1] for address in runner.addresses]
        yield served
