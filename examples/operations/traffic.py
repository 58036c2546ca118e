"""The demo's clients in realistic numbers: an ordinary day, and its troubles."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count, cycle
from typing import Final

from aiohttp import ClientSession, TCPConnector, web

from examples.demo import clients, trouble
from examples.demo.schema import Context
from examples.demo.server import Server, TickerView, serving
from examples.demo.visitor import TOKEN, Visitor, init, subscribe, until, until_closed
from examples.operations.closes import ABNORMAL, Visit
from strawberry_ws_otel import connection_attributes

SENDING: Final = 2.0
"""Seconds over which the clients start."""

PATIENCE: Final = 15.0
"""Timeout of a visit, in seconds."""

QUIET_PRICES: Final = 'subscription Prices { prices(symbol: "LILY", every: 3600) { tick price } }'
HOARD_PAUSE: Final = 0.2
UNREAD_SECONDS: Final = 8
"""With `PATIENCE`, this leaves time to close: what was not read comes before the close frame."""

TENANT_HEADER: Final = "X-Tenant"
TENANT_ID: Final = "tenant.id"

SLOW_LOGIN: Final = 1.5
SLOW_STORE: Final = "slow"


class StoreView(TickerView):
    """The ticker's view, whose session store is slow for clients that ask for it.

    A proxy in front of it would name the tenant, after it has checked who the client is.
    """

    async def create_websocket_response(
        self, request: web.Request, subprotocol: str | None
    ) -> web.WebSocketResponse:
        """Record the tenant, also of clients that never log in."""
        if tenant := request.headers.get(TENANT_HEADER):
            connection_attributes({TENANT_ID: tenant})
        return await super().create_websocket_response(request, subprotocol)

    async def on_ws_connect(self, context: Context) -> dict[str, object] | None:
        """Wait for the store, then log in as usual."""
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


async def close_the_tab(visitor: Visitor) -> None:
    """Follow a price, and leave in the middle of it with a close frame."""
    async with visitor.logged_in() as socket:
        await socket.send_json(subscribe("1", clients.ENDLESS_PRICES))
        await until(socket, "next", times=3)


async def stop_reading(visitor: Visitor) -> None:
    """Follow charts without reading them, for so long that several such clients add up."""
    async with visitor.logged_in() as socket:
        await socket.send_json(subscribe("1", clients.CHARTS))
        await trouble.read_nothing(socket, UNREAD_SECONDS)


async def come_and_go(visitor: Visitor) -> None:
    """Log in and leave at once, as a client that reconnects again and again does."""
    async with visitor.socket() as socket:
        await socket.send_json(init())
        await until(socket, "connection_ack")


async def hoard(visitor: Visitor) -> None:
    """Start one subscription after the other, and end none."""

    async def subscribe_again_and_again() -> None:
        for number in count():
            await socket.send_json(subscribe(str(number), QUIET_PRICES))
            await asyncio.sleep(HOARD_PAUSE)

    async with visitor.logged_in() as socket:
        await asyncio.gather(subscribe_again_and_again(), until_closed(socket))


@dataclass(frozen=True)
class Client:
    """Who a visitor is."""

    agent: str
    address: str
    """Any address of 127.0.0.0/8 is this machine's own."""
    tenant: str

    def missing_in(self, text: str) -> set[str]:
        """Return what a text does not say of this client."""
        return {value for value in (self.agent, self.address, self.tenant) if value not in text}

    def doing(self, visit: Visit) -> Visit:
        """Make a visit that this client makes, whoever the visitor is."""

        async def done(visitor: Visitor) -> None:
            connector = TCPConnector(limit=0, local_addr=(self.address, 0))
            async with ClientSession(connector=connector) as session:
                await visit(
                    replace(
                        visitor,
                        name=self.agent,
                        session=session,
                        headers={TENANT_HEADER: self.tenant},
                        address=self.address,
                    )
                )

        return done


BROWSER: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0"
PEOPLE: Final = tuple(
    Client(BROWSER.format(126 + number % 4), f"127.0.0.{101 + number}", tenant)
    for number, tenant in zip(range(21), cycle(("rosehill", "lakeside", "meadow")), strict=False)
)
"""The clients of an ordinary day."""


def somebody(visit: Visit) -> Visit:
    """Make a visit that one of the ordinary clients makes, each time another one."""
    visits = cycle([client.doing(visit) for client in PEOPLE])

    async def done(visitor: Visitor) -> None:
        await next(visits)(visitor)

    return done


ORDINARY: Final[Mapping[Visit, float]] = {
    somebody(clients.subscription): 1.0,
    somebody(clients.legacy_subscription): 1.0,
    somebody(clients.query_and_mutation): 1.0,
    somebody(close_the_tab): 1.0,
    somebody(clients.validation_error): 0.5,
    somebody(clients.resolver_error): 0.5,
}
"""The clients of an ordinary day, and how many start each second."""


@dataclass(frozen=True)
class Trouble:
    """What causes an alert: what a client does, how often each second, and which client it is."""

    does: Visit
    each_second: float
    client: Client

    @property
    def visit(self) -> Visit:
        """What the client does, done by it."""
        return self.client.doing(self.does)


TROUBLES: Final[tuple[Mapping[str, Trouble], ...]] = (
    {
        "WebSocketServerFailing": Trouble(
            trouble.handler_exception, 3, Client("kiosk/4.2", "127.0.0.11", "harbour")
        ),
        "WebSocketInitSlow": Trouble(
            slow_login, 5, Client("florist-app/2.3.1 (Android 14)", "127.0.0.12", "orchid")
        ),
        "WebSocketHeartbeatsLost": Trouble(
            trouble.missed_heartbeat, 5, Client("van-tablet/1.0", "127.0.0.13", "couriers")
        ),
        "WebSocketSubscriptionsInterrupted": Trouble(
            trouble.vanished, 8, Client("price-wall/0.8", "127.0.0.14", "station")
        ),
        "WebSocketSlowConsumers": Trouble(
            stop_reading, 1.25, Client("chart-export/3", "127.0.0.15", "archive")
        ),
    },
    {
        "WebSocketAbnormalCloses": Trouble(
            trouble.oversized_message,
            10,
            Client("bulk-import/1.9", "127.0.0.21", "wholesale"),
        ),
        "WebSocketReconnectStorm": Trouble(
            come_and_go, 30, Client("feed-bot/1.2", "127.0.0.22", "aggregator")
        ),
        "WebSocketInitTimeouts": Trouble(
            trouble.no_init, 10, Client("uptime-probe/5.0", "127.0.0.23", "monitoring")
        ),
    },
)
"""The clients that cause each alert.

About twice as many as an alert needs. In two groups: all at once are too many for a small machine.
"""

HOARDING_CLIENT: Final = Client("dashboard/0.3", "127.0.0.31", "head-office")
"""The client that starts more and more subscriptions, which causes WebSocketGaugeOnlyGrows."""


CULPRITS: Final[Mapping[str, Client]] = {
    **{alert: one.client for troubles in TROUBLES for alert, one in troubles.items()},
    "WebSocketGaugeOnlyGrows": HOARDING_CLIENT,
}
"""The client that causes each alert."""

LABELS: Final[Mapping[str, Mapping[str, str]]] = {
    "WebSocketAbnormalCloses": {"websocket_close_outcome": "invalid_frame"}
}
"""The labels of an alert that several clients cause."""


def visits(troubles: Mapping[str, Trouble]) -> dict[Visit, float]:
    """Return ordinary clients and those that cause troubles, and how many start each second."""
    return {**ORDINARY, **{one.visit: one.each_second for one in troubles.values()}}


EVERY_CLOSE: Final[Mapping[Visit, int]] = dict.fromkeys(map(somebody, ABNORMAL.values()), 1)
"""The clients that cause one abnormal close of every kind."""


@dataclass(frozen=True)
class Traffic:
    """Sends clients to a server; `complain` is called with the error of a client that fails."""

    server: Server
    session: ClientSession
    complain: Callable[[str], object]

    async def visit(
        self, visit: Visit, *, delay: float = 0.0, patience: float | None = PATIENCE
    ) -> None:
        """Make one visit after a delay. If it fails, the others continue."""
        await asyncio.sleep(delay)
        visitor = Visitor(
            "operations", self.server.port, self.server.url, self.session, self.server.stop
        )
        try:
            async with asyncio.timeout(patience):
                await visit(visitor)
        except Exception as error:  # noqa: BLE001 - it is reported
            self.complain(f"{type(error).__name__}: {error}")

    async def send(self, visits: Mapping[Visit, int]) -> None:
        """Send clients of each kind, evenly over `SENDING`, and wait until all have left."""
        await asyncio.gather(
            *(
                self.visit(visit, delay=SENDING * number / times)
                for visit, times in visits.items()
                for number in range(times)
            )
        )

    @asynccontextmanager
    async def coming(self, visits: Mapping[Visit, float]) -> AsyncIterator[None]:
        """Send clients of each kind every second, while the block runs.

        At its end it waits for the clients that are still connected, unless the block failed.
        """
        over, tasks = asyncio.Event(), set[asyncio.Task[None]]()

        async def come(visit: Visit, each_second: float) -> None:
            while not over.is_set():
                task = asyncio.create_task(self.visit(visit))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                await asyncio.sleep(1 / each_second)

        try:
            tasks |= {asyncio.create_task(come(*one)) for one in visits.items()}
            yield
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
        finally:
            over.set()
            while alive := [task for task in tasks if not task.done()]:
                await asyncio.wait(alive)

    @asynccontextmanager
    async def hoarding(self) -> AsyncIterator[None]:
        """Let a client start more and more subscriptions, while the block runs."""
        client = asyncio.create_task(self.visit(HOARDING_CLIENT.doing(hoard), patience=None))
        try:
            yield
        finally:
            client.cancel()
            await asyncio.wait((client,))


@asynccontextmanager
async def traffic(
    port: int, complain: Callable[[str], object], view_class: type[StoreView] = StoreView
) -> AsyncIterator[Traffic]:
    """Serve the ticker, and yield what sends clients to it."""
    async with (
        serving(port, view_class) as server,
        ClientSession(connector=TCPConnector(limit=0)) as session,
    ):
        yield Traffic(server, session, complain)
