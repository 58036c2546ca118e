"""A drill for the alerts: ordinary times, a deploy, and everything that an alert is for.

The servers are real, and so is the traffic; only the durations are shorter (`rules.shortened`).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import ClientError

from examples.demo import trouble
from examples.demo.visitor import Visitor, subscribe, until, until_closed
from examples.operations.closes import Visit
from examples.operations.drill import CAUSED
from examples.operations.process import Process
from examples.operations.traffic import HOARDING_CLIENT, ORDINARY, TROUBLES, hoard, visits
from examples.operations.webhook import Notice
from tests.support.kit.visits import Clients

ORDINARY_SECONDS = 45
"""Half an hour makes a history, and what is usual has to settle: 60 times as fast."""

DEPLOY_SECONDS = 15
"""By then anything that a deploy caused would be known: the window, and the longest `for`."""

PHONES: Mapping[Visit, float] = {trouble.vanished: 0.1, trouble.missed_heartbeat: 0.1}
"""Phones that are lost here and there, so many each second."""

BY_CLIENTS = frozenset(alert for troubles in TROUBLES for alert in troubles)
"""The alerts that clients can cause."""

LIMIT = 90
REGULARS = 120
"""Clients that stay, and come back after a deploy: enough for a storm, were it one."""

RETURN_SECONDS = 3.0
"""Over so many seconds they come: a crowd within one program answers no PING meanwhile."""

QUIET = 'subscription Prices { prices(symbol: "LILY", every: 3600) { tick } }'

FRESH, ORDINARY_TIME, DEPLOY, NEXT_FRESH, TROUBLE, HOARDER, GONE, PEACE = range(8)
"""The phases, in their order."""


@dataclass
class Record:
    """What the webhook received in each phase."""

    phases: list[list[Notice]] = field(default_factory=list)

    def begin(self, phase: int) -> None:
        assert phase == len(self.phases)
        self.phases.append([])

    def take(self, notice: Notice) -> None:
        self.phases[-1].append(notice)

    @property
    def notices(self) -> list[Notice]:
        return [notice for phase in self.phases for notice in phase]

    async def until_firing(self, *alerts: str) -> None:
        """Wait until each of these alerts has reached the webhook in this phase."""
        await self._until_none(lambda: set(alerts) - recorded("firing", self.phases[-1]))

    async def until_over(self) -> None:
        """Wait until the webhook has received every alert, and its end."""
        await self._until_none(lambda: set(CAUSED) - recorded("resolved", self.last))

    @property
    def last(self) -> list[Notice]:
        """The last notification of each alert."""
        last = {notice.alert: notice for notice in self.notices}
        return list(last.values())

    async def _until_none(self, missing: Callable[[], set[str]]) -> None:
        deadline = time.monotonic() + LIMIT
        while left := missing():
            assert time.monotonic() < deadline, f"not within {LIMIT} s: {left}"
            await asyncio.sleep(0.2)


def recorded(status: str, notices: list[Notice]) -> set[str]:
    return {notice.alert for notice in notices if notice.status == status}


async def regular(visitor: Visitor, delay: float) -> None:
    """Follow a price, and come back whenever the server goes away, each time after a delay."""
    while True:
        await asyncio.sleep(delay)
        try:
            async with visitor.logged_in() as socket:
                await socket.send_json(subscribe("1", QUIET))
                # The answer comes after the subscription was taken.
                await socket.send_json({"type": "ping"})
                await until(socket, "pong")
                await until_closed(socket)
        except (ClientError, TypeError):  # nobody is there yet, or it is gone instead of an answer
            await asyncio.sleep(0.1)


@asynccontextmanager
async def alone(coroutine: Awaitable[None]) -> AsyncIterator[None]:
    """Run something beside the block, and cancel it at its end."""
    task = asyncio.ensure_future(coroutine)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


@dataclass(frozen=True)
class Drill:
    """Goes through the phases; `ticker` runs a fresh process of the server while it is entered."""

    record: Record
    ticker: Callable[[], AbstractContextManager[Process]]
    start_prometheus: Callable[[], object]
    clients: Clients

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        # In threads: its clients, who are here, have to answer meanwhile.
        ticker = self.ticker()
        await asyncio.to_thread(ticker.__enter__)
        try:
            yield
        finally:
            await asyncio.to_thread(ticker.__exit__, None, None, None)

    async def run(self) -> None:
        async with AsyncExitStack() as regulars:
            async with self.serving():
                await self.fresh()
                for number in range(REGULARS):
                    delay = RETURN_SECONDS * number / REGULARS
                    await regulars.enter_async_context(
                        alone(regular(self.clients.visitor(), delay))
                    )
                await self.ordinary_time()
                self.record.begin(DEPLOY)
            async with self.serving():
                async with self.clients.coming(ORDINARY):
                    await asyncio.sleep(DEPLOY_SECONDS)
                self.record.begin(NEXT_FRESH)
                await self.clients.visit(trouble.handler_exception)
                await self.record.until_firing("WebSocketServerError")
                await regulars.aclose()
                await self.trouble()
                await self.hoarder()
        self.record.begin(GONE)
        await self.record.until_firing("WebSocketMetricsAbsent")
        async with self.serving(), self.clients.coming(ORDINARY):
            self.record.begin(PEACE)
            await self.record.until_over()

    async def fresh(self) -> None:
        """Fail before Prometheus has seen the process."""
        self.record.begin(FRESH)
        await self.clients.visit(trouble.handler_exception)
        self.start_prometheus()
        await self.record.until_firing("WebSocketServerError")

    async def ordinary_time(self) -> None:
        """Serve good clients, and lose a phone here and there."""
        self.record.begin(ORDINARY_TIME)
        async with self.clients.coming({**ORDINARY, **PHONES}):
            await asyncio.sleep(ORDINARY_SECONDS)

    async def trouble(self) -> None:
        """Let everything go wrong that clients can cause."""
        self.record.begin(TROUBLE)
        for troubles in TROUBLES:
            async with self.clients.coming(visits(troubles)):
                await self.record.until_firing(*troubles)

    async def hoarder(self) -> None:
        """Let a client begin subscriptions and end none."""
        self.record.begin(HOARDER)
        async with alone(HOARDING_CLIENT.doing(hoard)(self.clients.visitor())):
            await self.record.until_firing("WebSocketGaugeOnlyGrows")
