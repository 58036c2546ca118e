"""The demo's clients in the numbers that an operator meets: an ordinary day, and its troubles."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Final

from aiohttp import ClientSession, TCPConnector

from examples.demo import clients, trouble
from examples.demo.schema import Context
from examples.demo.server import Server, TickerView, serving
from examples.demo.visitor import TOKEN, Visitor, init, subscribe, until, until_closed
from examples.operations.closes import ABNORMAL, Visit

ROUND: Final = 2.0
"""Seconds over which the visits of a round begin."""

PATIENCE: Final = 15.0
"""Seconds after which a visit that hangs is given up."""

QUIET_PRICES: Final = 'subscription Prices { prices(symbol: "LILY", every: 3600) { tick price } }'
HOARD_PAUSE: Final = 0.2
SLOW_LOGIN: Final = 1.5
SLOW_STORE: Final = "slow"


class StoreView(TickerView):
    """The ticker's view, whose session store is slow for clients that want it so."""

    async def on_ws_connect(self, context: Context) -> dict[str, object] | None:
        """Wait for the store, then log in as ever."""
        params = context.get("connection_params")
        if isinstance(params, dict) and params.get("store") == SLOW_STORE:
            await asyncio.sleep(SLOW_LOGIN)
        return await super().on_ws_connect(context)


async def slow_login(visitor: Visitor) -> None:
    """Log in while the session store is slow."""
    async with visitor.socket() as socket:
        await socket.send_json(
            {"type": "connection_init", "payload": {"token": TOKEN, "store": SLOW_STORE}}
        )
        await until(socket, "connection_ack")


async def come_and_go(visitor: Visitor) -> None:
    """Log in and leave at once, as a client that reconnects again and again does."""
    async with visitor.socket() as socket:
        await socket.send_json(init())
        await until(socket, "connection_ack")


async def hoard(visitor: Visitor) -> None:
    """Begin one subscription after the other, and end none."""

    async def subscribe_again_and_again() -> None:
        for number in count():
            await socket.send_json(subscribe(str(number), QUIET_PRICES))
            await asyncio.sleep(HOARD_PAUSE)

    async with visitor.logged_in() as socket:
        await asyncio.gather(subscribe_again_and_again(), until_closed(socket))


@dataclass(frozen=True)
class Crowd:
    """So many clients that do the same."""

    visit: Visit
    size: int


ORDINARY: Final = (
    Crowd(clients.subscription, 4),
    Crowd(clients.legacy_subscription, 2),
    Crowd(clients.query_and_mutation, 4),
    Crowd(clients.validation_error, 1),
    Crowd(clients.resolver_error, 1),
)
"""A round of an ordinary day."""

TROUBLES: Final[Mapping[str, Crowd]] = {
    "WebSocketServerFailing": Crowd(trouble.handler_exception, 8),
    "WebSocketAbnormalCloses": Crowd(trouble.oversized_message, 25),
    "WebSocketReconnectStorm": Crowd(come_and_go, 60),
    "WebSocketInitTimeouts": Crowd(trouble.no_init, 25),
    "WebSocketInitSlow": Crowd(slow_login, 20),
    "WebSocketHeartbeatsLost": Crowd(trouble.missed_heartbeat, 25),
    "WebSocketSubscriptionsInterrupted": Crowd(trouble.vanished, 25),
}
"""What a round needs for each alert that clients can cause."""

EVERY_CLOSE: Final = tuple(Crowd(visit, 1) for visit in ABNORMAL.values())
"""A round with one abnormal close of every kind."""


@dataclass(frozen=True)
class Traffic:
    """Sends clients to a server; `complain` is told what went wrong on the side of one of them."""

    server: Server
    session: ClientSession
    complain: Callable[[str], object]

    async def visit(
        self, visit: Visit, *, delay: float = 0.0, patience: float | None = PATIENCE
    ) -> None:
        """Make one visit after a while; whatever happens to it, the others go on."""
        await asyncio.sleep(delay)
        visitor = Visitor(
            "operations", self.server.port, self.server.url, self.session, self.server.stop
        )
        try:
            async with asyncio.timeout(patience):
                await visit(visitor)
        except Exception as error:  # noqa: BLE001 - it is reported
            self.complain(f"{type(error).__name__}: {error}")

    async def round(self, *crowds: Crowd) -> None:
        """Send crowds, each evenly over the time of a round, and wait until everybody has gone."""
        visits = [
            self.visit(crowd.visit, delay=ROUND * number / crowd.size)
            for crowd in crowds
            for number in range(crowd.size)
        ]
        await asyncio.gather(asyncio.sleep(ROUND), *visits)

    @asynccontextmanager
    async def going_on(self, *crowds: Crowd) -> AsyncIterator[None]:
        """Send each crowd round after round, while the block runs."""

        async def rounds(crowd: Crowd) -> None:
            while not over.is_set():
                await self.round(crowd)

        over = asyncio.Event()
        tasks = [asyncio.create_task(rounds(crowd)) for crowd in crowds]
        try:
            yield
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
        finally:
            over.set()
            await asyncio.wait(tasks)

    @asynccontextmanager
    async def hoarding(self) -> AsyncIterator[None]:
        """Let a client ask for more and more, while the block runs."""
        client = asyncio.create_task(self.visit(hoard, patience=None))
        try:
            yield
        finally:
            client.cancel()
            await asyncio.wait((client,))


@asynccontextmanager
async def traffic(
    port: int, complain: Callable[[str], object], view_class: type[StoreView] = StoreView
) -> AsyncIterator[Traffic]:
    """Serve the ticker, and be ready to send clients to it."""
    async with (
        serving(port, view_class) as server,
        ClientSession(connector=TCPConnector(limit=0)) as session,
    ):
        yield Traffic(server, session, complain)
