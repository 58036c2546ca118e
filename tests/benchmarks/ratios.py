"""CPU time per message, operation and connection: every arm in turn, round by round."""

import asyncio
import gc
from collections.abc import Callable
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass
from statistics import quantiles
from typing import Final

from tests.benchmarks.arms import arms_of_process
from tests.benchmarks.serving import CLIENT, Served, serving
from tests.support.worker import Worker, working


@dataclass(frozen=True, slots=True)
class Workload:
    """What the client does in a round.

    Attributes:
        key: how results call it.
        job: the client's method.
        count: how many messages, operations or connections a round has.
        times_itself: whether the schema holds the stopwatch.
        leaves: whether the connections of a round end with it.
    """

    key: str
    job: str
    count: int
    times_itself: bool = False
    leaves: bool = False


WORKLOADS: Final = (
    Workload("next", "messages", 1000, times_itself=True),
    Workload("subscription", "subscriptions", 10),
    Workload("query", "queries", 15),
    Workload("connection", "connections", 20, leaves=True),
)

Prices = dict[str, dict[str, float]]
"""Microseconds of each workload and arm."""


async def ratios(rounds: int, *, sdk: bool, progress: Callable[[], None]) -> Prices:
    """Measure every arm of this process; return the low decile of the rounds of each."""
    async with AsyncExitStack() as stack:
        arms = [await stack.enter_async_context(serving(arm)) for arm in arms_of_process(sdk=sdk)]
        client = await stack.enter_async_context(working(CLIENT))
        for workload in WORKLOADS:
            for served in arms:
                await play(workload, served, client)
        # What lives by now lives on. The collector, which hits a round or spares it, comes between
        # them only.
        gc.collect()
        gc.freeze()
        gc.disable()
        return {
            workload.key: await _prices(workload, arms, client, rounds, progress)
            for workload in WORKLOADS
        }


async def _prices(
    workload: Workload,
    arms: list[Served],
    client: Worker,
    rounds: int,
    progress: Callable[[], None],
) -> dict[str, float]:
    prices: dict[str, list[float]] = {served.arm.name: [] for served in arms}
    for number in range(rounds):
        for served in arms if number % 2 else reversed(arms):
            gc.collect()
            prices[served.arm.name].append(await play(workload, served, client))
        progress()
    return {name: low_decile(values) for name, values in prices.items()}


async def play(workload: Workload, served: Served, client: Worker) -> float:
    """Play one round; return the CPU time of this process, in microseconds for each item."""
    with nullcontext() if workload.times_itself else served.stopwatch:
        await client.do(workload.job, url=served.url, count=workload.count)
        if workload.leaves:
            await served.ended(workload.count)
            # The loop has yet to close what the handlers left.
            await asyncio.sleep(0)
    return served.stopwatch.seconds / workload.count * 1e6


def low_decile(values: list[float]) -> float:
    """The value that a tenth of them is below: a round that nothing disturbed."""
    return quantiles(values, n=10, method="inclusive")[0]
