"""What it costs to end the segments of thousands of connections that are due at once.

The connections have no socket: what is measured is the library's core, on a running loop. The loop
is blocked until all segments are due. Their spans go to the SDK's `BatchSpanProcessor` with its
default settings, and to an exporter that takes 100 ms for each batch.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

from strawberry_ws_otel import OTelConfig
from strawberry_ws_otel._protocol import GRAPHQL_TRANSPORT_WS
from strawberry_ws_otel._recording import Telemetry
from strawberry_ws_otel._segments import Rotation
from tests.benchmarks.arms import BOTH, EMPTY, find
from tests.benchmarks.pipes import PIPES, Tracing
from tests.benchmarks.ratios import Prices
from tests.support.fake_connection import FakeConnection

if TYPE_CHECKING:
    from tests.benchmarks.backlog import Backlog

SEGMENTED: Final = find(BOTH, Tracing.SAMPLED)

PIECE: Final = 250
"""Connections that begin, or end, before their spans are flushed: they all fit into the queue."""

SLOWEST: Final = 300
"""Rotations a second, far below what the library allows itself: no segment is due twice."""

SHORTEST: Final = 1.0
"""Seconds of a segment, at least: a machine may stop for a while."""


class Steps:
    """The steps of the rotation, until all that are due have rotated."""

    def __init__(self, backlog: "Backlog", due: int) -> None:
        self._backlog = backlog
        self._due = due
        self.seconds: list[float] = []
        """The CPU time of each."""
        self.rotated: list[int] = []
        """The segments that each has ended."""
        self.done = asyncio.Event()

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure each step that begins in this block, of a rotation that begins in it."""
        unmeasured = Rotation._step

        def measured_step(rotation: Rotation) -> None:
            ended, begun = self._backlog.ended, time.thread_time()
            unmeasured(rotation)
            self.seconds.append(time.thread_time() - begun)
            self.rotated.append(self._backlog.ended - ended)
            if self._backlog.ended >= self._due:
                self.done.set()

        with patch.object(Rotation, "_step", measured_step):
            yield


async def segments(connections: int, subscriptions: int, progress: Callable[[], None]) -> Prices:
    """Measure the rotation of connections of one age with so many subscriptions each."""
    # The process that has no SDK imports this module, too.
    from tests.benchmarks.backlog import Backlog  # noqa: PLC0415

    due = connections * (1 + subscriptions)
    pipe, backlog = PIPES[Tracing.SAMPLED](), Backlog()
    provider: Any = pipe.tracer_provider
    provider.add_span_processor(backlog)
    duration = max(SHORTEST, due / SLOWEST)
    config = OTelConfig(**pipe.options, segment_duration=duration, setup_warnings=False)
    telemetry, steps = Telemetry(config), Steps(backlog, due)
    with steps.measured():
        opened = []
        for number in range(connections):
            opened.append(_open(telemetry, subscriptions))
            _flush(backlog, number)
        backlog.force_flush()
        progress()
        gc.collect()
        gc.freeze()
        gc.disable()
        # Without a step of the loop: all are due as the next one begins.
        time.sleep(duration)  # noqa: ASYNC251
        backlog.forget()
        begun = time.monotonic()
        await steps.done.wait()
        took = time.monotonic() - begun
    backlog.force_flush()
    progress()
    measured = {
        "cpu": sum(steps.seconds) / backlog.ended * 1e6,
        "most": max(steps.rotated),
        "longest": max(steps.seconds) * 1e3,
        "median": median(steps.seconds) * 1e3,
        "took": took,
        "queue": backlog.most,
        "exported": backlog.exported,
    }
    for number, connection in enumerate(opened):
        connection.close_by_client()
        _flush(backlog, number)
    provider.shutdown()
    progress()
    return {
        f"segments_{subscriptions}_{key}": {EMPTY: 0.0, SEGMENTED.name: price}
        for key, price in measured.items()
    }


def _open(telemetry: Telemetry, subscriptions: int) -> FakeConnection:
    connection = FakeConnection(telemetry.config, recording=telemetry)
    connection.accept(GRAPHQL_TRANSPORT_WS)
    connection.initialize()
    for number in range(subscriptions):
        connection.start_operation(str(number))
    return connection


def _flush(backlog: "Backlog", number: int) -> None:
    if number % PIECE == PIECE - 1:
        backlog.force_flush()
