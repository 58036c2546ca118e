"""What a closed connection leaves behind is freed at once, as it is without the library."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from strawberry.aiohttp.views import AiohttpWebSocketAdapter

from tests.arms import BARE, STRAWBERRY, Arm, traced
from tests.conftest import Run
from tests.scenarios.model import BOTH
from tests.scenarios.steps import (
    Step,
    acknowledged,
    asks,
    closes,
    ends,
    handshake,
    hears,
    live,
    reset,
    says,
    steps,
    stops,
)
from tests.schema import TICKS
from tests.server import Setup, serving
from tests.telemetry import Telemetry

TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"
CARRYING = says({"type": "connection_init", "payload": {"traceparent": TRACEPARENT}})
BYE = closes(1000)

TALKS: dict[str, Step] = {
    "no operation": steps(acknowledged, BYE),
    "no init": steps(handshake, BYE),
    "an operation that completed": steps(
        acknowledged, asks("a", TICKS, variables={"to": 2}), hears("complete"), BYE
    ),
    "an operation that the client stopped": steps(live, stops("live"), BYE),
    "a live operation": steps(live, BYE),
    "an init that carried a parent": steps(handshake, CARRYING, hears("connection_ack"), BYE),
    "an operation below a parent that its init carried": steps(
        handshake,
        CARRYING,
        hears("connection_ack"),
        asks("a", TICKS, variables={"to": 2}),
        hears("complete"),
        BYE,
    ),
    "a connection lost": steps(live, reset),
}


@contextmanager
def reference_counting_only() -> Iterator[None]:
    """Whatever waits for the garbage collector waits in vain."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def left_behind(talk: Step, protocol: str, arm: Arm) -> list[str]:
    """The names of what of a closed connection is still there, its server being up."""
    adapters: list[weakref.ref[Any]] = []

    class Adapter(AiohttpWebSocketAdapter):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            adapters.append(weakref.ref(self))

    setup = Setup(members={"websocket_adapter_class": Adapter})
    async with asyncio.timeout(20), serving(setup, arm.view_class, arm.extensions) as server:
        client = await server.connect(protocol=protocol, headers={})
        with reference_counting_only():
            await steps(talk, ends)(client, server)
            await server.ended.wait()
            await asyncio.gather(*server.handlers, return_exceptions=True)
            [adapter] = adapters
            references: dict[str, weakref.ref[Any]] = {
                "socket": weakref.ref(server.socket),
                "request": weakref.ref(server.requests[-1]),
                "adapter": adapter,
            }
            server.forget()
            for _ in range(20):
                # The loop still holds what it is about to call.
                await asyncio.sleep(0)
            return [name for name, reference in references.items() if reference() is not None]


@pytest.mark.usefixtures("frozen_garbage")
@pytest.mark.skipif(STRAWBERRY < (0, 341), reason="older hosts keep cycles of their own")
@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("name", TALKS)
def test_a_closed_connection_waits_for_no_garbage_collector(
    name: str, protocol: str, run: Run[Any], telemetry: Telemetry
) -> None:
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    bare = run(left_behind(TALKS[name], protocol, BARE))
    assert set(run(left_behind(TALKS[name], protocol, arm))) <= set(bare)
