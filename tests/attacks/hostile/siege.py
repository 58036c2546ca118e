"""A siege: a sound server on a loopback port, and hostile clients that come and go.

All of it runs on one loop. Each client draws what it does from the seed and its own number, so that
it can be sent again alone.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from aiohttp import web
from strawberry.aiohttp.views import GraphQLView

from strawberry_ws_otel import OTelConfig, OTelExtension, OTelViewMixin
from tests.attacks.hostile import attacks
from tests.attacks.hostile.checks import Books
from tests.support.fake_connection import START
from tests.support.frames import text_frame
from tests.support.log import LIBRARY
from tests.support.loopback import on_loopback
from tests.support.raw_client import Client, Ended
from tests.support.schema import make_schema
from tests.support.server import PATH
from tests.support.tls import TLS

AT_ONCE: Final = 20
FRAMES_OF_A_CLIENT: Final = 60
PATIENCE: Final = 30.0
"""Seconds in which what is bound to happen has to have happened."""

VARIANTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "default": {},
    "nested": {
        "trace_shape": "nested",
        "remote_context": "ignore",
        "message_events": 0,
        "phase_spans": False,
        "error_messages": "none",
    },
    "trusting": {
        "remote_context": "link",
        "message_events": 100,
        "message_spans": True,
        "error_messages": "all",
        "normal_outcomes": {"invalid_message", 4499},
    },
    "segments": {"segment_duration": 0.001},
}
"""The options of the view: none, the fewest records, the most, and the most spans."""

ENDS: Final = ("close", "close", "fin", "reset", "leave")
ENDS_OVER_TLS: Final = (*ENDS, "notify", "beneath")
"""How clients leave; TLS has a good order of its own, and can be broken."""

HOST_LOGS: Final = ("aiohttp", "asyncio", "opentelemetry", "strawberry")
"""Where others tell, at length, of every exception and everything that they cannot read."""


@dataclass
class Siege:
    """Who comes, and what became of it."""

    seed: int
    variant: str = "default"
    tls: TLS | None = None
    books: Books = field(default_factory=Books)
    frames: int = 0
    clients: int = 0
    handling: set[asyncio.Task[Any]] = field(default_factory=set)
    port: int = 0

    async def run(self, frames: int, progress: Callable[["Siege"], None] = lambda _: None) -> None:
        """Send hostile clients until `frames` were sent, and wait for the end of every handler."""
        while self.frames < frames:
            numbers = range(self.clients, self.clients + AT_ONCE)
            self.clients += AT_ONCE
            await asyncio.gather(*map(self.send, numbers))
            await self.quiet()
            progress(self)

    async def quiet(self) -> None:
        """Wait until no handler is at work."""
        async with asyncio.timeout(PATIENCE):
            while self.handling:
                await asyncio.wait(self.handling)

    async def send(self, number: int) -> None:
        """Send one client, from its handshake to whichever end it comes to."""
        random = Random(f"{self.seed}/{number}")  # noqa: S311  # to be drawn again
        headers = {"User-Agent": f"hostile/{number}", **attacks.headers(random)}
        client = await Client.connect(
            self.port,
            protocol=attacks.offer(random),
            headers=headers,
            tls=None if self.tls is None else self.tls.client,
        )
        try:
            async with asyncio.timeout(PATIENCE):
                await self._besiege(client, random)
        except (Ended, OSError, asyncio.IncompleteReadError, RuntimeError):
            pass  # The server had enough of it; uvloop calls that a RuntimeError.
        finally:
            await client.leave()

    async def _besiege(self, client: Client, random: Random) -> None:
        if random.random() < 0.02:
            return
        await client.shake_hands()
        if client.status != 101:
            return
        if random.random() < 0.8:
            client.send(text_frame({"type": "connection_init"}))
            await client.frame()
        listening = asyncio.create_task(client.until_end())
        try:
            await self._attack(client, random, listening)
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening

    async def _attack(self, client: Client, random: Random, listening: asyncio.Task[None]) -> None:
        start = START.get(client.protocol or "", "subscribe")
        for _ in range(random.randint(1, FRAMES_OF_A_CLIENT)):
            data = attacks.frame(random, start)
            self.frames += 1
            vanishes = random.random() < 0.01
            client.write(data[: random.randint(0, len(data))] if vanishes else data)
            for _ in range(random.choice((0, 0, 1, 5))):
                await asyncio.sleep(0)
            if vanishes or listening.done() or client.closed:
                break
        client.echoes = False
        match random.choice(ENDS if self.tls is None else ENDS_OVER_TLS):
            case "close":
                client.write(attacks.close(random))
                # Who takes it for the middle of a long frame does not answer.
                await asyncio.wait({listening}, timeout=0.2)
            case "fin":
                client.fin()
                await asyncio.wait({listening}, timeout=0.2)
            case "reset":
                client.reset()
            case "notify":
                client.close_notify()
                await asyncio.wait({listening}, timeout=0.2)
            case "beneath":
                client.write_beneath(attacks.beneath_tls(random))
                await asyncio.wait({listening}, timeout=0.2)

    @web.middleware
    async def watch(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Keep account of the handlers at work, and of the connections that the view begins."""
        task = asyncio.current_task()
        assert task is not None
        self.handling.add(task)
        self.books.handshakes += _begins(request)
        try:
            answer: web.StreamResponse = await handler(request)
        finally:
            self.handling.discard(task)
        return answer


def _begins(request: web.Request) -> bool:
    """Whether aiohttp would make a WebSocket of the request, or trips over its key."""
    try:
        return web.WebSocketResponse().can_prepare(request).ok
    except ValueError:
        return True


@asynccontextmanager
async def besieged(
    seed: int, variant: str = "default", tls: TLS | None = None
) -> AsyncIterator[Siege]:
    """A sound server, whose books are closed at the end."""
    siege = Siege(seed, variant, tls)

    class View(OTelViewMixin, GraphQLView[Any, Any]):
        otel_config = OTelConfig(
            tracer_provider=siege.books.tracer_provider,
            meter_provider=siege.books.meter_provider,
            **VARIANTS[variant],
        )

    app = web.Application(middlewares=[siege.watch])
    app.router.add_route("*", PATH, View(schema=make_schema(OTelExtension)))
    logger = logging.getLogger(LIBRARY)
    logger.addHandler(siege.books)
    context = None if tls is None else tls.server
    try:
        async with on_loopback(app, tls=context, shutdown_timeout=1) as runner:
            siege.port = runner.addresses[0][1]
            try:
                yield siege
            finally:
                await siege.quiet()
    finally:
        logger.removeHandler(siege.books)
        siege.books.close()
