"""Memory per idle connection and live subscription, and whether it grows with messages.

All by `tracemalloc` in the server process. What the SDK allocates for its spans is apart from
the rest. The time of one metrics collection is here as well, for the same crowd.
"""

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Callable
from typing import Final, NamedTuple

from strawberry_ws_otel import open_connections
from tests.benchmarks.arms import BARE, BOTH, EMPTY, MIXIN, Arm, find
from tests.benchmarks.pipes import Tracing
from tests.benchmarks.ratios import Prices, low_decile
from tests.benchmarks.serving import CLIENT, serving
from tests.support.worker import Worker, working

KIB: Final = 1024
WARM_UP: Final = 20
"""Connections after which whatever is made once has been made."""

FIRST: Final = 1_000
"""Messages after which growth begins to count: the first of them are recorded as events."""

PIECE: Final = 10_000
"""Messages between two reports of progress."""

COLLECTIONS: Final = 20

SNAPSHOTS: Final = 1_000
"""The most that a reader asks for at once."""

SPANS: Final = ("/opentelemetry/sdk/", "/opentelemetry/attributes/")
"""Where the SDK makes its spans, and the API their attributes."""

CROWDED: Final = (
    find(BARE),
    find(EMPTY),
    *(find(subject, t) for subject in (MIXIN, BOTH) for t in (Tracing.SAMPLED, Tracing.UNSAMPLED)),
)
GROWING: Final = (find(EMPTY), find(BOTH, Tracing.SAMPLED), find(BOTH, Tracing.UNSAMPLED))
COLLECTED: Final = find(BOTH, Tracing.SAMPLED)


class Memory(NamedTuple):
    """What is allocated, in KiB: by the SDK, and by all the rest."""

    sdk: float
    rest: float

    def per(self, before: "Memory", count: int) -> "Memory":
        """What each of so many things has added since `before`."""
        return Memory((self.sdk - before.sdk) / count, (self.rest - before.rest) / count)


def allocated() -> Memory:
    """What is allocated and not garbage."""
    gc.collect()
    sdk = rest = 0
    for statistic in tracemalloc.take_snapshot().statistics("filename"):
        if any(part in statistic.traceback[0].filename for part in SPANS):
            sdk += statistic.size
        else:
            rest += statistic.size
    return Memory(sdk / KIB, rest / KIB)


async def memory(connections: int, progress: Callable[[], None]) -> Prices:
    """Measure the memory of each idle connection, and what a live subscription on it adds."""
    prices: Prices = {"idle": {}, "idle_sdk": {}, "live": {}, "live_sdk": {}}
    tracemalloc.start()
    for arm in CROWDED:
        async with serving(arm) as served, working(CLIENT) as client:
            await _crowd(client, served.url, WARM_UP)
            await client.do("crowd_leaves")
            await served.ended(WARM_UP)
            before = allocated()
            await client.do("crowd", url=served.url, count=connections)
            idle = allocated()
            await client.do("crowd_subscribes")
            live = allocated()
            await client.do("crowd_leaves")
            await served.ended(connections)
        prices["idle_sdk"][arm.name], prices["idle"][arm.name] = idle.per(before, connections)
        prices["live_sdk"][arm.name], prices["live"][arm.name] = live.per(idle, connections)
        progress()
    return prices


async def _crowd(client: Worker, url: str, count: int) -> None:
    await client.do("crowd", url=url, count=count)
    await client.do("crowd_subscribes")


async def growth(arm: str, messages: int, progress: Callable[[], None]) -> Prices:
    """Measure what a subscription has grown by between its 1,000th message and its last."""
    [chosen] = [one for one in GROWING if one.name == arm]
    tracemalloc.start()
    grown = await _growth(chosen, messages, progress)
    return {"growth": {arm: grown.rest}, "growth_sdk": {arm: grown.sdk}}


async def _growth(arm: Arm, messages: int, progress: Callable[[], None]) -> Memory:
    async with serving(arm) as served, working(CLIENT) as client:
        await client.do("tunes_in", url=served.url)

        async def send(count: int) -> None:
            served.feed.counts.put_nowait(count)
            await client.do("hears", url=served.url, count=count)

        await send(FIRST)
        before, sent = allocated(), FIRST
        while sent < messages:
            piece = min(PIECE, messages - sent)
            await send(piece)
            sent += piece
            progress()
        grown = allocated().per(before, 1)
        served.feed.counts.put_nowait(0)
        return grown


async def collection(connections: int, progress: Callable[[], None]) -> Prices:
    """Measure what readers of everything cost while so many connections are open.

    A collection of all metrics, and snapshots of the oldest thousand connections in another thread,
    in ms of CPU. Without the library there are none.
    """
    async with serving(COLLECTED) as served, working(CLIENT) as client:
        await _crowd_in_steps(client, served.url, connections, progress)
        times = []
        for _ in range(COLLECTIONS):
            started = time.thread_time()
            served.pipe.reader.get_metrics_data()
            times.append((time.thread_time() - started) * 1e3)
            await asyncio.sleep(0)
        snapshots = [await asyncio.to_thread(_take_snapshots) for _ in range(COLLECTIONS)]
        await client.do("crowd_leaves")
        await served.ended(connections)
    return {
        "collection": {COLLECTED.name: low_decile(times)},
        "open": {EMPTY: 0.0, COLLECTED.name: low_decile(snapshots)},
    }


def _take_snapshots() -> float:
    started = time.thread_time()
    open_connections(SNAPSHOTS)
    return (time.thread_time() - started) * 1e3


async def _crowd_in_steps(
    client: Worker, url: str, connections: int, progress: Callable[[], None]
) -> None:
    step = max(1, connections // 10)
    for begun in range(0, connections, step):
        await client.do("crowd", url=url, count=min(step, connections - begun))
        progress()
