"""One load, from the first connection to the last look at what is left."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from tests.attacks.load.report import Report, levels, remains, rows
from tests.support.worker import Worker, working

EVERY: Final = 0.2
"""Seconds between two messages of a busy connection."""

FIRST: Final = 6
"""The first load is so many times shorter."""

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


Progress = Callable[[str], None]


async def load(extent: Extent, progress: Progress) -> Report:
    """Put the load on a server; `progress` hears what is going on."""
    ports = 1 + (2 * extent.connections + extent.rate * extent.seconds) // PER_PORT
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        server = await enter(working("tests.attacks.load.server", str(ports)))
        crowd, passers = [await enter(working("tests.attacks.load.clients")) for _ in range(2)]
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
        # A first load leaves behind what is made once, and memory that is fragmented.
        await self._wave(max(1, extent.seconds // FIRST))
        level = await server.do("memory")
        passed = await self._wave(extent.seconds)
        after = await server.do("memory")
        deeds = [await clients.do("deeds") for clients in (self._crowd, self._passers)]
        did, recorded = _added(deeds), await server.do("recorded")
        return Report(
            passed=passed,
            rows=list(rows(did, recorded)),
            remains=remains(did, recorded),
            levels=levels(level, self._peak, after),
        )

    async def _wave(self, seconds: int) -> int:
        """Have a crowd come, others pass by, and all of them leave; return how many passed by."""
        extent, crowd, server = self._extent, self._crowd, self._server
        await crowd.do("gather", ports=self._ports, count=extent.connections)
        await crowd.do("subscribe", count=extent.busy, every=EVERY)
        await self._look(f"{extent.connections} are there, {extent.busy} of them busy")
        await server.do("freeze")
        passed = await self._pass_by(seconds)
        await server.do("unfreeze")
        await crowd.do("leave")
        await server.do("settled", connections=extent.connections)
        await self._look("all have left")
        return passed

    async def _pass_by(self, seconds: int) -> int:
        """Have others connect and vanish; return how many did."""
        extent, came = self._extent, 0
        for second in range(1, seconds + 1):
            passing = await self._passers.do(
                "pass_by", ports=self._ports, rate=extent.rate, seconds=1
            )
            came += passing["came"]
            if second % 5 == 0 or second == seconds:
                await self._look(f"{came} have come, {passing['there']} of them are there")
        await self._passers.do("passed")
        await self._server.do("settled", connections=came)
        await self._look("the last has vanished")
        return came

    async def _look(self, what: str) -> None:
        seen = await self._server.do("look")
        self._peak = max(self._peak, seen["resident"])
        self._say(f"{what}; spans of connections: {seen['spans']}")


def _added(deeds: list[Mapping[str, Mapping[str, int]]]) -> dict[str, Any]:
    """What all clients did together."""
    return {key: sum((Counter(each[key]) for each in deeds), Counter()) for key in deeds[0]}
