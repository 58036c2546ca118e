"""Clients of a server that is a process of its own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import ClientSession, TCPConnector

from examples.demo.server import PATH
from examples.demo.visitor import Visitor
from examples.operations.closes import Visit
from examples.operations.ports import url

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

    @asynccontextmanager
    async def coming(self, visits: Mapping[Visit, float]) -> AsyncIterator[None]:
        """Let so many clients of each kind come per second while the block runs.

        At its end those who are here are waited for.
        """
        over = asyncio.Event()

        async def come(visit: Visit, each_second: float) -> None:
            while not over.is_set():
                group.create_task(self.visit(visit))
                await asyncio.sleep(1 / each_second)

        async with asyncio.TaskGroup() as group:
            for visit, each_second in visits.items():
                group.create_task(come(visit, each_second))
            try:
                yield
            finally:
                over.set()


@asynccontextmanager
async def clients(port: int) -> AsyncIterator[Clients]:
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        yield Clients(port, session)
