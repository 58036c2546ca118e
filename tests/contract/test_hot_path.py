"""How often what costs is called: for each message, and for a whole conversation.

That is the OpenTelemetry API, and asyncio where it makes a system call.

What it costs is for the benchmark to measure. These counts are the same on every machine, so a
change that adds a call is seen here.
"""

from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import strawberry
from strawberry.aiohttp.views import GraphQLView

from strawberry_ws_otel import OTelConfig, OTelExtension, OTelViewMixin
from tests.support.api_calls import (
    Calls,
    counting_contexts,
    counting_meters,
    counting_tasks,
    counting_tracers,
)
from tests.support.fake_connection import BOTH, START
from tests.support.hosting import Host, hosting, part
from tests.support.schema import Query

MESSAGES = 20
FIRST = {"Histogram.record": 1}
"""What the first result of an operation costs: the time that it took is recorded."""
WITH_EVENTS = {1, 2, 3, 4, 5, 6, 7, 8, 16}
"""Which messages of a subscription get an event; the others are thinned out."""


@dataclass(frozen=True)
class Counted:
    """The calls of one conversation: all of them, and those for each message of a result."""

    all: dict[str, int]
    per_message: list[dict[str, int]]


async def converse(host: Host, protocol: str) -> None:
    """Subscribe to all messages, then close."""
    client = await host.acknowledged(protocol)
    client.json(
        {"type": START[protocol], "id": "a", "payload": {"query": "subscription { ticks }"}}
    )
    await client.message("complete")
    await part(client)
    await host.served()


async def count(
    protocol: str, *, sampled: bool, extension: bool, message_spans: bool = False
) -> Counted:
    """Count the calls of a conversation on a server of its own."""
    calls, marks = Calls(), list[Calls]()

    @strawberry.type
    class Subscription:
        @strawberry.subscription
        async def ticks(self) -> AsyncGenerator[int, None]:
            marks.append(calls.copy())
            for number in range(MESSAGES):
                yield number
                # Asked for the next one, the host has sent this one.
                marks.append(calls.copy())

    class View(OTelViewMixin, GraphQLView[Any, Any]):
        otel_config = OTelConfig(
            tracer_provider=counting_tracers(calls, sampled=sampled),
            meter_provider=counting_meters(calls),
            message_spans=message_spans,
        )

    schema = strawberry.Schema(
        query=Query,
        subscription=Subscription,
        extensions=[OTelExtension] if extension else [],
    )
    view = View(schema=schema, keep_alive=False)
    with counting_contexts(calls), counting_tasks(calls):
        async with hosting(view) as host:
            calls.clear()
            await converse(host, protocol)
            whole = dict(calls)
    return Counted(whole, [dict(after - before) for before, after in pairwise(marks)])


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("extension", [False, True], ids=["mixin", "mixin and extension"])
async def test_a_sampled_message_adds_an_event_unless_it_is_thinned_out(
    protocol: str, *, extension: bool
) -> None:
    counted = await count(protocol, sampled=True, extension=extension)
    first = {"Span.add_event": 1} | FIRST | (IF_SAMPLED_WITH_EXTENSION if extension else {})
    assert counted.per_message == [
        first,
        *({"Span.add_event": 1} if n in WITH_EVENTS else {} for n in range(2, MESSAGES + 1)),
    ]


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("extension", [False, True], ids=["mixin", "mixin and extension"])
async def test_a_message_that_nobody_samples_makes_no_call_unless_it_is_the_first(
    protocol: str, *, extension: bool
) -> None:
    counted = await count(protocol, sampled=False, extension=extension)
    assert counted.per_message == [FIRST, *[{}] * (MESSAGES - 1)]


@pytest.mark.parametrize("protocol", BOTH)
async def test_with_message_spans_a_message_that_nobody_samples_makes_the_calls_of_one_span(
    protocol: str,
) -> None:
    counted = await count(protocol, sampled=False, extension=True, message_spans=True)
    calls = {
        "Tracer.start_span": 1,
        # Whether it has an id of its own, and which its parent has.
        "Span.get_span_context": 2,
        "Span.is_recording": 1,
        "Span.end": 1,
        # Where it starts, what is current before it, and whether that has been changed.
        "context.get_current": 4,
        # The span, and what was there before.
        "context.attach": 2,
    }
    assert counted.per_message == [calls | FIRST, *[calls] * (MESSAGES - 1)]


# --- A whole conversation --------------------------------------------------------------------

SPANS = 3
"""The connection, its init, the subscription."""

ALWAYS = {
    "Tracer.start_span": SPANS,
    "Span.is_recording": SPANS,
    "Span.end": SPANS,
    "Span.get_span_context": SPANS,
    "Histogram.record": 4,
    # Of the handshake, of each message, and of the task that serves the subscription; and back.
    "context.attach": 6,
    "context.get_current": 12,
    # In which task it is handled, and whether the task that served it was cancelled.
    "asyncio.current_task": 2,
}

IF_SAMPLED = {
    # connection_init, its ack and the close; subscribe, the messages and complete.
    "Span.add_event": 3 + 1 + len(WITH_EVENTS) + 1,
    "Span.add_link": 2,
    "Span.set_attributes": 2,
    # Whether another span is current where one ends.
    "Span.get_span_context": SPANS,
    "context.get_current": SPANS,
}

WITH_EXTENSION = {"context.get_current": 1}

IF_SAMPLED_WITH_EXTENSION = {
    # The type of the operation, as its first result is sent.
    "Span.set_attributes": 1,
}


AS_IT_BEGINS = {
    # The span of an operation that is executed is named as its document begins.
    "Span.update_name": 1,
}


@pytest.mark.parametrize(
    ("sampled", "extension", "expected"),
    [
        (False, False, [ALWAYS]),
        (False, True, [ALWAYS, WITH_EXTENSION]),
        (True, False, [ALWAYS, IF_SAMPLED]),
        (
            True,
            True,
            [ALWAYS, IF_SAMPLED, WITH_EXTENSION, IF_SAMPLED_WITH_EXTENSION, AS_IT_BEGINS],
        ),
    ],
    ids=["not sampled", "not sampled, extension", "sampled", "sampled, extension"],
)
@pytest.mark.parametrize("protocol", BOTH)
async def test_a_conversation_makes_no_more_calls_than_these(
    protocol: str, expected: list[dict[str, int]], *, sampled: bool, extension: bool
) -> None:
    counted = await count(protocol, sampled=sampled, extension=extension)
    assert counted.all == dict(sum(map(Counter, expected), Calls()))
