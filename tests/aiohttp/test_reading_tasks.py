"""Messages pulled in one task and handled in another: the conversation is recorded as always.

Each way of pulling messages is the application's; the host's own loop stands among them.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from functools import partial
from typing import Any

import pytest
import strawberry
from opentelemetry import baggage
from opentelemetry.context import attach

from strawberry_ws_otel import OTelExtension, connection_span
from tests.support.applications.conversations import (
    ACTIVE,
    DURATION,
    EVENTS,
    all_ends,
    both,
    expected_spans,
    forever,
    one_subscription,
    operations,
    play,
    served_by,
    ticks,
)
from tests.support.applications.reading_tasks import (
    Aside,
    Below,
    Deferring,
    Dispatching,
    Each,
    Host,
    Limited,
    Pooled,
    Prefetching,
    Queued,
    ReadElsewhere,
    Relayed,
    Waiting,
    adapted,
)
from tests.support.clock import stop_clock
from tests.support.expected import (
    CONNECTION,
    INIT,
    OPERATION,
    SpanDict,
    connection,
    init,
    operation,
    received,
    recorded,
    results_of,
    sent,
    standalone,
)
from tests.support.frames import Frame, Opcode
from tests.support.hosting import hosting, part
from tests.support.raw_client import Client
from tests.support.scenarios.model import BOTH, by_client, by_server, without_frames
from tests.support.scenarios.steps import TRANSPORT, subscribe
from tests.support.schema import FOREVER, TICKS, Query, make_schema
from tests.support.telemetry import Telemetry
from tests.support.views import View, extension, instrumented


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


Way = Callable[..., type[View]]

OWN_LOOPS = (
    *(Waiting, Limited, Prefetching, Queued, ReadElsewhere, Each, Pooled, Below, Aside),
    *(Deferring, Dispatching, Relayed),
)
WAYS: dict[str, Way] = {way.__name__: partial(served_by, way) for way in (Host, *OWN_LOOPS)} | {
    "ReadingAdapter": adapted
}
READING_ON = {
    way.__name__ for way in (Prefetching, Queued, ReadElsewhere, Each, Pooled, Deferring, Relayed)
} | {"ReadingAdapter"}
"""Those that read while a message is handled: aiohttp wakes them, and waits for no echo."""
protocols = pytest.mark.parametrize("protocol", BOTH)
named_ways = pytest.mark.parametrize("way", WAYS)
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def some_ways(*names: type) -> pytest.MarkDecorator:
    chosen = {each.__name__: WAYS[each.__name__] for each in names}
    return pytest.mark.parametrize("way", chosen.values(), ids=chosen)


# --- Whole conversations ---------------------------------------------------------------------


@ways
@protocols
async def test_all_ends_are_recorded_whoever_pulls_the_messages(
    telemetry: Telemetry, way: Way, protocol: str
) -> None:
    await both(telemetry, way(), all_ends, protocol)
    assert recorded(telemetry) == expected_spans(protocol)
    assert telemetry.total(ACTIVE) == 0
    assert {
        dict(key)["graphql.ws.operation.end_reason"]: value for key, value in ended(telemetry)
    } == {
        "completed": 2,
        "error": 1,
        "client_completed": 1,
        "connection_closed": 1,
    }


def ended(telemetry: Telemetry) -> Iterable[tuple[Any, float]]:
    return telemetry.metrics()[DURATION].items()


@ways
@protocols
async def test_operations_that_are_asked_for_at_once_are_kept_apart(
    telemetry: Telemetry, way: Way, protocol: str
) -> None:
    async def talk(client: Client) -> None:
        client.json(
            subscribe(client, "a", TICKS, variables={"to": 2}),
            subscribe(client, "b", TICKS, variables={"to": 5}),
        )
        await client.message("complete")
        await client.message("complete")
        await part(client)

    await both(telemetry, way(), talk, protocol)
    assert operations(telemetry) == [ticks(protocol), ticks(protocol, 5, id_="b")]
    [connected] = recorded(telemetry, CONNECTION)
    assert connected == connection(
        protocol, messages=(3, 10), operations=["subscription", "subscription 2"]
    )


@some_ways(Queued, Pooled, Deferring)
@protocols
async def test_the_mixin_alone_records_an_operation_whoever_pulls_the_messages(
    telemetry: Telemetry, way: Way, protocol: str
) -> None:
    await both(telemetry, way(), one_subscription, protocol, extensions=())
    events = [*results_of(protocol, 1, 2), sent("complete")]
    assert recorded(telemetry) == [
        connection(protocol, messages=(2, 4), operations=[OPERATION]),
        init(),
        operation(TICKS, "completed", protocol=protocol, known=False, results=2, events=events),
    ]


@some_ways(Waiting, Pooled)
@protocols
async def test_the_extension_alone_records_an_operation_whoever_pulls_the_messages(
    telemetry: Telemetry, way: Way, protocol: str
) -> None:
    schema = make_schema(extension(telemetry))
    await play(way(), schema, one_subscription, protocol)
    assert recorded(telemetry) == [
        standalone(TICKS, name="Ticks"),
    ]


@some_ways(Waiting, Pooled)
@protocols
async def test_a_subscription_is_live_whoever_pulls_the_messages(
    telemetry: Telemetry, way: Way, protocol: str
) -> None:
    view = instrumented(telemetry, way())
    async with hosting(view(schema=make_schema(OTelExtension), keep_alive=False)) as host:
        client = await host.acknowledged(protocol)
        client.json(subscribe(client, "a", FOREVER))
        await client.message("next", "data")
        assert telemetry.total(ACTIVE) == 1
        await part(client)
    assert telemetry.total(ACTIVE) == 0
    assert telemetry.total(EVENTS) == 1


# --- Refusals --------------------------------------------------------------------------------


def refused(protocol: str, **more: Any) -> SpanDict:
    """What is recorded of an operation that the host refused to begin."""
    return operation(TICKS, "rejected", protocol=protocol, known=False, error="rejected", **more)


@ways
@protocols
async def test_an_operation_over_the_limit_is_rejected_whoever_pulls_the_messages(
    telemetry: Telemetry, way: Way, protocol: str
) -> None:
    async def talk(client: Client) -> None:
        client.json(subscribe(client, "a", FOREVER))
        await client.message("next", "data")
        client.json(subscribe(client, "b", TICKS, variables={"to": 2}))
        await client.message("error")
        await part(client)

    await both(telemetry, way(), talk, protocol, max_subscriptions_per_connection=1)
    verdict = by_client("normal", 1000)
    assert operations(telemetry) == [
        forever(protocol, "a", "connection_closed", verdict=verdict),
        refused(protocol, id_="b", events=[sent("error")]),
    ]


@named_ways
async def test_a_second_operation_of_one_id_is_rejected_whoever_pulls_the_messages(
    telemetry: Telemetry, way: str
) -> None:
    async def talk(client: Client) -> None:
        client.json(subscribe(client, "a", FOREVER))
        await client.message("next")
        client.json(subscribe(client, "a", TICKS, variables={"to": 2}))

    await both(telemetry, WAYS[way](), talk, abnormal=1)
    verdict = by_server(
        "duplicate_operation",
        4409,
        "Subscriber for a already exists",
        echo=None if way in READING_ON else 4409,
    )
    description = "interrupted by an abnormal close: duplicate_operation"
    assert operations(telemetry) == [
        forever(
            TRANSPORT,
            "a",
            "connection_closed",
            verdict=verdict,
            error="duplicate_operation",
            description=description,
        ),
        refused(TRANSPORT),
    ]
    assert recorded(telemetry, CONNECTION) == [
        connection(
            verdict=verdict,
            messages=(3, 2),
            operations=["subscription", OPERATION],
            interrupted=1,
        )
    ]


@named_ways
@protocols
async def test_an_operation_before_the_ack_is_rejected_whoever_pulls_the_messages(
    telemetry: Telemetry, way: str, protocol: str
) -> None:
    async def talk(client: Client) -> None:
        client.json(subscribe(client, "a", TICKS, variables={"to": 2}))

    await both(telemetry, WAYS[way](), talk, protocol, abnormal=1, greets=False)
    verdict = by_server(
        "unauthorized", 4401, "Unauthorized", echo=None if way in READING_ON else 4401
    )
    assert recorded(telemetry) == [
        connection(
            protocol,
            verdict,
            messages=(1, 0),
            operations=[OPERATION],
            links=[OPERATION],
            acknowledged=False,
            events=[],
        ),
        refused(protocol),
    ]


# --- What the application does meanwhile -----------------------------------------------------


@pytest.mark.parametrize(
    ("way", "shape"),
    [(way, "linked") for way in WAYS.values()] + [(WAYS["Pooled"], "nested")],
    ids=[*WAYS, "Pooled, nested"],
)
@protocols
async def test_the_application_finds_the_spans_whoever_pulls_the_messages(
    telemetry: Telemetry, way: Way, protocol: str, shape: str
) -> None:
    """What it attaches is in its operations just where it is without the library."""
    tracer = telemetry.tracer_provider.get_tracer("application")

    class Greeting(View):
        async def on_ws_connect(self, context: Any) -> Any:
            with tracer.start_as_current_span("login"):
                await asyncio.sleep(0)
                connection_span().set_attribute("user.id", "ada")
            attach(baggage.set_baggage("tenant", "acme"))
            return await super().on_ws_connect(context)

    @strawberry.type
    class Subscription:
        @strawberry.subscription
        async def tenant(self) -> AsyncGenerator[str, None]:
            connection_span().add_event("asked")
            with tracer.start_as_current_span("lookup"):
                await asyncio.sleep(0)
            yield str(baggage.get_baggage("tenant"))

    def schema(*extensions: Any) -> strawberry.Schema:
        return strawberry.Schema(
            query=Query, subscription=Subscription, extensions=list(extensions)
        )

    async def talk(client: Client) -> None:
        client.json(subscribe(client, "a", "subscription Tenant { tenant }"))
        await client.message("complete")
        await part(client)

    view = way(base=Greeting)
    bare = await play(view, schema(), talk, protocol)
    telemetry.exporter.clear()
    view = instrumented(telemetry, view, trace_shape=shape)
    assert await play(view, schema(OTelExtension), talk, protocol) == bare
    parent = CONNECTION if shape == "nested" else None
    assert [(each["name"], each["parent"]) for each in recorded(telemetry)] == [
        (CONNECTION, None),
        (INIT, parent),
        ("login", INIT),
        ("subscription", parent),
        ("lookup", "subscription"),
    ]
    [connected] = recorded(telemetry, CONNECTION)
    assert connected["attributes"]["user.id"] == "ada"
    assert ("asked", {}) in connected["events"]


# --- What the client does wrong --------------------------------------------------------------


@some_ways(Waiting, Below, Aside)
@protocols
async def test_an_exception_because_of_a_message_is_the_client_s_whoever_pulls_the_messages(
    telemetry: Telemetry, way: Way, protocol: str
) -> None:
    async def talk(client: Client) -> None:
        client.json({**subscribe(client, "a", TICKS), "payload": 5})

    await both(telemetry, way(), talk, protocol, abnormal=1)
    [connected] = recorded(telemetry, CONNECTION)
    attributes = connected["attributes"]
    assert attributes["websocket.close.outcome"] == "invalid_message"
    assert attributes["websocket.close.code"] == 1006
    assert attributes["websocket.close.initiator"] == "none"
    assert attributes["error.type"] == "TypeError"


async def test_text_that_is_no_message_is_the_client_s_whoever_pulls_it(
    telemetry: Telemetry,
) -> None:
    async def talk(client: Client) -> None:
        client.send(Frame(Opcode.TEXT, b"{"))

    await both(telemetry, served_by(Waiting), talk, abnormal=1)
    verdict = without_frames("invalid_message", "strawberry.http.exceptions.NonJsonMessageReceived")
    events = [received("connection_init"), sent("connection_ack"), received("_OTHER")]
    assert recorded(telemetry) == [
        connection(verdict=verdict, messages=(2, 1), events=events),
        init(),
    ]
