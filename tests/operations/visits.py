"""Clients of a server that is a process of its own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import ClientSession, TCPConnector

from examples.demo.server import PATH
from examples.demo.visitor import Visitor
from examples.operations.closes import Visit
from examples.operations.ports import url
from examples.operations.traffic import Crowd

PATIENCE = 20


async def never() -> None:
    raise AssertionError("a client here does not stop the server")


@dataclass(frozen=True)
class Clients:
    """Sends clients to a port; `troubles` holds what went wrong on their own side."""

    port: int
    session: ClientSession
    stop_server: Callable[[], Awaitable[None]] = never
    troubles: list[str] = field(default_factory=list)

    def visitor(self, name: str = "operations") -> Visitor:
        return Visitor(name, self.port, url(self.port, PATH), self.session, self.stop_server)

    async def visit(self, visit: Visit) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await visit(self.visitor())
        except Exception as error:  # noqa: BLE001 - the others go on, and the test fails
            self.troubles.append(f"{type(error).__name__}: {error}")

    async def round(self, crowds: Iterable[Crowd]) -> None:
        """Send crowds, and take a second for it at least."""
        visits = [self.visit(crowd.visit) for crowd in crowds for _ in range(crowd.size)]
        await asyncio.gather(asyncio.sleep(1), *visits)

    @asynccontextmanager
    async def rounds(self, *crowds: Crowd) -> AsyncIterator[None]:
        """Send crowds again and again while the block runs."""
        over = asyncio.Event()

        async def going() -> None:
            while not over.is_set():
                await self.round(crowds)

        async with asyncio.TaskGroup() as group:
            group.create_task(going())
            try:
                yield
            finally:
                over.set()


@asynccontextmanager
async def clients(port: int) -> AsyncIterator[Clients]:
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        yield Clients(port, session)
