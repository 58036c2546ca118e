"""One load, from the first connection to the last look at what is left."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from tests.jobs import Worker, working
from tests.load.report import Report, levels, remains, rows

EVERY: Final = 0.2
"""Seconds between two messages of a busy connection."""

PER_PORT: Final = 20_000
"""Connections to one port of the server: each takes a port of the client's, of about 28,000."""


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How heavy the load is.

    Attributes:
        connections: how many are open at once.
        busy: how many of them have a subscription with a message every 0.2 s.
        rate: how many others connect and vanish in a second.
        seconds: for which they do.
    """

    connections: int = 10_000
    busy: int = 500
    rate: int = 1_000
    seconds: int = 60

    @property
    def passers(self) -> int:
        """How many connect and vanish, in all."""
        return self.rate * self.seconds


Progress = Callable[[str], None]


async def load(extent: Extent, progress: Progress) -> Report:
    """Put the load on a server; `progress` hears what is going on."""
    ports = 1 + (2 * extent.connections + extent.passers) // PER_PORT
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        server = await enter(working("tests.load.server", str(ports)))
        crowd, passers = [await enter(working("tests.load.clients")) for _ in range(2)]
        return await Load(extent, server, crowd, passers, progress).run()


class Load:
    """A load, and the processes that bear it and make it."""

    def __init__(
        self, extent: Extent, server: Worker, crowd: Worker, passers: Worker, progress: Progress
    ) -> None:
        self._extent = extent
        self._server = server
        self._crowd = crowd
        self._passers = passers
        self._say = progress
        self._peak = 0
        self._ports: list[int] = []

    async def run(self) -> Report:
        """Put the load on the server."""
        extent, server = self._extent, self._server
        self._ports = await server.do("ports")
        # The first crowd leaves behind what is made once, and memory that is fragmented.
        await self._gather("a first crowd")
        await self._leave()
        level = await server.do("memory")
        await self._gather("the crowd")
        await self._crowd.do("subscribe", count=extent.busy, every=EVERY)
        self._say(f"{extent.busy} of them are busy")
        reached = await self._pass_by()
        await self._leave()
        after = await server.do("memory")
        deeds = [await clients.do("deeds") for clients in (self._crowd, self._passers)]
        did, told = _added(deeds), await server.do("told")
        return Report(
            reached=reached,
            rows=list(rows(did, told)),
            remains=remains(did, told),
            levels=levels(level, self._peak, after),
        )

    async def _gather(self, name: str) -> None:
        await self._crowd.do("gather", ports=self._ports, count=self._extent.connections)
        await self._look(f"{name} of {self._extent.connections} is there")

    async def _leave(self) -> None:
        await self._crowd.do("leave")
        await self._server.do("settled", connections=self._extent.connections)
        await self._look("the crowd has left")

    async def _pass_by(self) -> float:
        """Have the passers-by connect and vanish; return how many a second that really were."""
        extent, late = self._extent, 0.0
        for second in range(1, extent.seconds + 1):
            passing = await self._passers.do(
                "pass_by", ports=self._ports, count=extent.rate, rate=extent.rate
            )
            late = max(0.0, passing["late"])
            if second % 5 == 0 or second == extent.seconds:
                came = second * extent.rate
                await self._look(f"{came} have come, {passing['there']} of them are there")
        await self._passers.do("passed")
        await self._server.do("settled", connections=extent.passers)
        await self._look("the last has vanished")
        return extent.passers / (extent.seconds + late)

    async def _look(self, what: str) -> None:
        seen = await self._server.do("look")
        self._peak = max(self._peak, seen["resident"])
        self._say(f"{what}; spans of connections: {seen['spans']}")


def _added(deeds: list[Mapping[str, Mapping[str, int]]]) -> dict[str, Any]:
    """What all clients did together."""
    return {key: sum((Counter(each[key]) for each in deeds), Counter()) for key in deeds[0]}
