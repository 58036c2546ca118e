"""Loses thousands of clients at once, and counts whose spans arrive at the collector.

`python -m examples.operations.burst` needs OTEL_EXPORTER_OTLP_ENDPOINT, and reads the settings of
the batch queue (OTEL_BSP_*) as every program does. Try the settings of your server with it. Each
client has one live subscription, so that the loss of a client ends two spans.
"""

import argparse
import asyncio
import logging
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from typing import Final

from aiohttp import ClientSession, ClientWebSocketResponse
from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from examples.demo.names import SCOPE, SPAN_CONNECTION
from examples.demo.telemetry import ENDPOINT_VARIABLE, Collector
from examples.demo.visitor import subscribe, until, until_closed
from examples.operations.measured import AT_ONCE, PATIENCE, join, open_session, serving

SERVICE: Final = "burst"
QUIET: Final = 'subscription { prices(symbol: "LILY", every: 3600) { tick } }'


class Counter(SpanProcessor):
    """Counts spans as they end, and sets an event when those of all connections have ended."""

    def __init__(self, connections: int) -> None:
        """Expect a number of connections."""
        self.ended = 0
        self.all_lost = asyncio.Event()
        self._alive = connections

    def on_end(self, span: ReadableSpan) -> None:
        """Count a span."""
        self.ended += 1
        self._alive -= span.name == SPAN_CONNECTION
        if not self._alive:
            self.all_lost.set()


async def follow(session: ClientSession, url: str) -> ClientWebSocketResponse:
    """Open a connection with one live subscription."""
    socket = await join(session, url)
    await socket.send_json(subscribe("1", QUIET))
    # The pong arrives after the subscription was accepted.
    await socket.send_json({"type": "ping"})
    await until(socket, "pong")
    return socket


async def follow_all(url: str, connections: int, ready: Event) -> None:
    """Open a number of connections, report that, and keep them open."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(session: ClientSession) -> ClientWebSocketResponse:
        async with turns:
            return await follow(session, url)

    async with open_session() as session:
        sockets = await asyncio.gather(*(one(session) for _ in range(connections)))
        ready.set()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(until_closed(socket) for socket in sockets))


def run_clients(url: str, connections: int, ready: Event) -> None:
    """Run all clients in one process. If it is killed, the server loses all of them at once."""
    asyncio.run(follow_all(url, connections, ready))


async def lose_all(url: str, connections: int, counter: Counter, settle: Callable[[], bool]) -> int:
    """Connect the clients and kill them; return how many spans that ended."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    clients = context.Process(target=run_clients, args=(url, connections, ready))
    clients.start()
    try:
        if not await asyncio.to_thread(ready.wait, PATIENCE):
            raise TimeoutError("the clients did not get their connections in time")
        await asyncio.to_thread(settle)
        before = counter.ended
    finally:
        clients.kill()
    await asyncio.wait_for(counter.all_lost.wait(), PATIENCE)
    return counter.ended - before


async def burst(endpoint: str, connections: int) -> None:
    """Serve, lose every client at once, and print what became of the spans."""
    collector, counter = Collector(endpoint), Counter(connections)
    tracers = TracerProvider(resource=Resource.create({SERVICE_NAME: SERVICE}))
    tracers.add_span_processor(counter)
    tracers.add_span_processor(BatchSpanProcessor(collector))
    trace.set_tracer_provider(tracers)
    async with serving() as url:
        in_burst = await lose_all(url, connections, counter, tracers.force_flush)
    began = time.monotonic()
    await asyncio.to_thread(tracers.shutdown)
    dropped = counter.ended - collector.delivered - collector.lost
    print(f"{in_burst:7,} spans ended when {connections:,} connections were lost")
    print(f"{counter.ended:7,} spans ended in all")
    print(f"{collector.delivered:7,} of them arrived")
    print(f"{dropped:7,} were dropped by the full queue")
    print(f"{collector.lost:7,} were lost on the way to the collector")
    print(f"{time.monotonic() - began:7.1f} s for the shutdown to send the rest")


def main() -> int:
    """Read the command line and run; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.operations.burst")
    parser.add_argument("connections", type=int, nargs="?", default=4500)
    options = parser.parse_args()
    endpoint = os.environ.get(ENDPOINT_VARIABLE)
    if not endpoint:
        print(f"{ENDPOINT_VARIABLE} has to name a collector.", file=sys.stderr)
        return 2
    # One warning for each lost client would fill the terminal.
    logging.getLogger(SCOPE).setLevel(logging.ERROR)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(burst(endpoint, options.connections))
    return 0


if __name__ == "__main__":
    sys.exit(main())
