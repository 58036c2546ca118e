"""What a closed connection leaves behind is freed at once, as it is without the library."""

import asyncio
import gc
import json
import logging
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from strawberry.aiohttp.views import AiohttpWebSocketAdapter
from strawberry.extensions import SchemaExtension

from strawberry_ws_otel import OTelExtension
from strawberry_ws_otel._operation import SocketOperation
from strawberry_ws_otel._protocol import GRAPHQL_TRANSPORT_WS
from tests.support.cases import BARE, STRAWBERRY, Arm, traced
from tests.support.event_loop import Run
from tests.support.expected import CONNECTION, INIT, OPERATION
from tests.support.hosting import hosting, part
from tests.support.scenarios.model import BOTH
from tests.support.scenarios.steps import (
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
    subscribe,
)
from tests.support.schema import FOREVER, TICKS, make_schema
from tests.support.server import Setup, serving
from tests.support.telemetry import Telemetry
from tests.support.views import instrumented

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


async def left_behind(talk: Step, protocol: str, arm: Arm) -> tuple[set[str], set[str]]:
    """The names of what of a closed connection is still there, its server being up.

    Before the garbage collector comes, and after.
    """
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
            waiting = {name for name, reference in references.items() if reference() is not None}
        gc.collect()
        return waiting, {name for name in waiting if references[name]() is not None}


@pytest.mark.usefixtures("frozen_garbage")
@pytest.mark.skipif(STRAWBERRY < (0, 341), reason="older hosts keep cycles of their own")
@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("name", TALKS)
def test_a_closed_connection_waits_for_no_garbage_collector(
    name: str, protocol: str, run: Run[Any], telemetry: Telemetry
) -> None:
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    waiting, kept = run(left_behind(TALKS[name], protocol, BARE))
    waiting_with_us, kept_with_us = run(left_behind(TALKS[name], protocol, arm))
    assert waiting_with_us <= waiting
    assert kept == kept_with_us == set()


# --- What a timer keeps ----------------------------------------------------------------------

# asyncio keeps the context of a timer until it is due, often even of one that was cancelled. The
# host has such timers, and so have applications. Ours is in that context, and what a client sent,
# of any size, must not hang on it.


class Said(list[Any]):
    """A message that can be seen to go."""


class Name(str):  # noqa: SLOT000  # slots would forbid what it is for
    """An id that can be seen to go."""


class LeavesATimer(SchemaExtension):
    """A source, for example, that was asleep when it was cancelled."""

    def on_operation(self) -> Iterator[None]:
        asyncio.get_running_loop().call_later(3600, print)
        yield


KEPT_BY_A_TIMER: dict[str, Step] = {
    "a message that the host dies of": steps(acknowledged, says([[]])),
    "the id of an operation that completed": steps(
        acknowledged, asks("a", TICKS, variables={"to": 2}), hears("complete"), BYE
    ),
    "the id of an operation that the client stopped": steps(live, stops("live"), BYE),
    "the id of a live operation": steps(live, BYE),
    "the ids of operations that were refused": steps(
        live, asks("live", TICKS, variables={"to": 2}), BYE
    ),
}


@pytest.fixture
def unlogged() -> Iterator[None]:
    """Nothing is logged: pytest would keep it, and with a traceback all that was going on."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("unlogged")
@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("extensions", [(), (OTelExtension,)], ids=["mixin", "mixin and extension"])
@pytest.mark.parametrize("name", KEPT_BY_A_TIMER)
async def test_what_a_client_sent_goes_with_its_connection_whatever_timers_are_left(
    name: str,
    extensions: tuple[Any, ...],
    protocol: str,
    telemetry: Telemetry,
) -> None:
    said: list[weakref.ref[Any]] = []

    def decode_json(_view: Any, text: str) -> Any:
        value = json.loads(text)
        if isinstance(value, list):
            value = Said(value)
            said.append(weakref.ref(value))
        elif "id" in value:
            value["id"] = Name(value["id"])
            said.append(weakref.ref(value["id"]))
        return value

    # An earlier timer: asyncio lets go of a cancelled one at once only where it would be the next.
    earlier = asyncio.get_running_loop().call_later(1, print)
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    setup = Setup(members={"decode_json": decode_json})
    async with (
        asyncio.timeout(20),
        serving(setup, arm.view_class, (*extensions, LeavesATimer)) as server,
    ):
        client = await server.connect(protocol=protocol, headers={})
        await steps(KEPT_BY_A_TIMER[name], ends)(client, server)
        await asyncio.gather(*server.handlers, return_exceptions=True)
        server.forget()
        earlier.cancel()
        for _ in range(20):
            await asyncio.sleep(0)
        gc.collect()
        assert said
        assert [reference() for reference in said if reference() is not None] == []


@pytest.mark.parametrize("message_spans", [False, True])
async def test_a_span_that_has_ended_is_let_go_whatever_timers_are_left(
    telemetry: Telemetry, *, message_spans: bool
) -> None:
    spans = weakref.WeakSet[Span]()
    started: list[str] = []

    class Watcher(SpanProcessor):
        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            spans.add(span)
            started.append(span.name)

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Watcher())
    arm = traced(provider, telemetry.meter_provider, message_spans=message_spans)
    async with (
        asyncio.timeout(20),
        serving(Setup(), arm.view_class, (OTelExtension, LeavesATimer)) as server,
    ):
        client = await server.connect(protocol=GRAPHQL_TRANSPORT_WS, headers={})
        await steps(live, stops("live"), BYE, ends)(client, server)
        await asyncio.gather(*server.handlers, return_exceptions=True)
        gc.collect()
        of_messages = [name for name in started if name.startswith("graphql.ws.")]
        others = [name for name in started if name not in of_messages]
        assert others[:3] == [CONNECTION, INIT, OPERATION]
        assert bool(of_messages) == message_spans
        assert list(spans) == []


# --- What the books keep ---------------------------------------------------------------------


def operations_that_are_kept() -> list[SocketOperation]:
    return [each for each in gc.get_objects() if isinstance(each, SocketOperation)]


async def test_operations_that_clients_stopped_are_let_go_by_the_mixin_alone(
    telemetry: Telemetry,
) -> None:
    before = operations_that_are_kept()
    async with hosting(instrumented(telemetry)(schema=make_schema(), keep_alive=False)) as host:
        client = await host.acknowledged()
        for number in range(20):
            client.json(subscribe(client, str(number), FOREVER))
            await client.message("next")
            client.json({"type": "complete", "id": str(number)})
        client.json({"type": "ping"})
        await client.message("pong")
        for _ in range(20):
            # The loop still holds the tasks that have just ended.
            await asyncio.sleep(0)
        gc.collect()
        assert [each for each in operations_that_are_kept() if each not in before] == []
        await part(client)
