"""How late the event loop is while thousands of connections are idle and hundreds are busy.

The garbage collector runs as it does in production.
"""

import asyncio
import time
from collections.abc import Callable
from statistics import quantiles
from typing import Final

from tests.benchmarks.arms import ARMS, BOTH, EMPTY, find
from tests.benchmarks.pipes import Tracing
from tests.benchmarks.ratios import Prices
from tests.benchmarks.serving import CLIENT, serving
from tests.support.worker import working

COMPARED: Final = (find(EMPTY), find(BOTH, Tracing.SAMPLED))

EVERY: Final = 0.2
"""Seconds between two messages of a busy connection."""

PERIOD: Final = 0.005
"""Seconds between two looks at how late the loop is."""


async def scale(
    arm: str, connections: int, busy: int, seconds: float, progress: Callable[[], None]
) -> Prices:
    """Measure the delay of the event loop in ms, and the CPU time of each second in percent."""
    [chosen] = [one for one in ARMS if one.name == arm]
    async with serving(chosen) as served, working(CLIENT) as client:
        await client.do("crowd", url=served.url, count=connections)
        progress()
        await client.do("busy", url=served.url, count=busy, every=EVERY)
        progress()
        with served.stopwatch:
            delays = await _delays(seconds)
        await client.do("busy_leave")
        await client.do("crowd_leaves")
        await served.ended(connections + busy)
        progress()
    percentiles = quantiles(delays, n=100, method="inclusive")
    return {
        "delay_median": {arm: percentiles[49]},
        "delay_p99": {arm: percentiles[98]},
        "cpu": {arm: served.stopwatch.seconds / seconds * 100},
    }


async def _delays(seconds: float) -> list[float]:
    """How many ms later than asked for a timer went off, again and again for so many seconds."""
    delays, end = [], time.monotonic() + seconds
    while (begun := time.monotonic()) < end:
        await asyncio.sleep(PERIOD)
        delays.append((time.monotonic() - begun - PERIOD) * 1e3)
    return delays
