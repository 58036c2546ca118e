"""A span for each message, on real sockets: whole spans, parents, and what is current where."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest
import strawberry
from opentelemetry import trace
from strawberry.aiohttp.views import AiohttpWebSocketAdapter

from strawberry_ws_otel import OTelExtension
from tests.support.cases import STRAWBERRY
from tests.support.clock import Clock, stop_clock
from tests.support.expected import (
    CONNECTION,
    INIT,
    SpanDict,
    connection,
    init,
    operation,
    received,
    recorded,
    results_of,
    sent,
    span,
)
from tests.support.frames import Frame, Opcode
from tests.support.hosting import hosting, part
from tests.support.scenarios.model import BOTH
from tests.support.scenarios.steps import COMPLETE, LEGACY, SUBSCRIBE, TRANSPORT, subscribe
from tests.support.schema import FOREVER, TICKS, Query, make_schema
from tests.support.telemetry import Telemetry
from tests.support.views import View, instrumented

RESULT = {TRANSPORT: "next", LEGACY: "data"}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return stop_clock(monkeypatch)


def view_of(
    telemetry: Telemetry, schema: Any = None, base: type[View] = View, **options: Any
) -> View:
    schema = schema or make_schema(OTelExtension)
    cls = instrumented(telemetry, base, message_spans=True, **options)
    return cls(schema=schema, keep_alive=False)


def message(
    type_: str, kind: str, parent: str, sequence: int = 1, error: str | None = None, **more: Any
) -> SpanDict:
    """The span of a message, received or sent."""
    return span(
        f"graphql.ws.{type_}",
        kind=kind,
        parent=parent,
        attributes={
            "websocket.connection.id": "c1",
            "http.route": "/graphql",
            "network.io.direction": "receive" if kind == "CONSUMER" else "transmit",
            "graphql.ws.message.type": type_,
            "graphql.ws.message.sequence": sequence,
            "graphql.ws.operation.id": more.get("id_"),
        },
        error=error,
    )


@pytest.mark.parametrize(
    "protocol",
    [
        TRANSPORT,
        pytest.param(
            LEGACY,
            marks=pytest.mark.skipif(
                STRAWBERRY < (0, 341), reason="older hosts fail if a client stops an unknown id"
            ),
        ),
    ],
)
@pytest.mark.parametrize("shape", ["linked", "nested"])
async def test_a_conversation_has_a_span_for_each_message(
    protocol: str, shape: str, telemetry: Telemetry
) -> None:
    async with hosting(view_of(telemetry, trace_shape=shape)) as host:
        client = await host.acknowledged(protocol)
        client.json(subscribe(client, "a", TICKS, variables={"to": 2}))
        await client.message("complete")
        client.json({"type": COMPLETE[protocol], "id": "b"})
        await part(client)

    is_nested = shape == "nested"
    placed: dict[str, Any] = {"parent": CONNECTION, "links": ()} if is_nested else {}
    linked: dict[str, Any] = {"links": ()} if is_nested else {}
    result, below = RESULT[protocol], "subscription"
    greeting = (received("connection_init"), sent("connection_ack"))
    stray = received(COMPLETE[protocol])
    # The events of messages are those that there are without their spans.
    assert recorded(telemetry) == [
        connection(
            protocol,
            messages=(3, 4),
            operations=[below],
            events=[*greeting, stray],
            **linked,
        ),
        init(**placed),
        message("connection_init", "CONSUMER", INIT),
        message("connection_ack", "PRODUCER", INIT),
        operation(
            TICKS,
            "completed",
            protocol=protocol,
            name="Ticks",
            results=2,
            events=[*results_of(protocol, 1, 2), sent("complete")],
            **placed,
        ),
        message(SUBSCRIBE[protocol], "CONSUMER", below, id_="a"),
        message(result, "PRODUCER", below, 1, id_="a"),
        message(result, "PRODUCER", below, 2, id_="a"),
        message("complete", "PRODUCER", below, id_="a"),
        message(COMPLETE[protocol], "CONSUMER", CONNECTION, id_="b"),
    ]


def messages(telemetry: Telemetry) -> list[tuple[str, str, str | None, Any]]:
    """Of each message, in the order of the starts: type, kind, parent, error type."""
    return [
        (
            each["name"].removeprefix("graphql.ws."),
            each["kind"],
            each["parent"],
            each["attributes"].get("error.type"),
        )
        for each in recorded(telemetry)
        if each["name"].startswith("graphql.ws.")
    ]


@pytest.mark.parametrize("protocol", BOTH)
async def test_a_client_that_stops_a_subscription_stops_it_below_its_span(
    protocol: str, telemetry: Telemetry
) -> None:
    async with hosting(view_of(telemetry)) as host:
        client = await host.acknowledged(protocol)
        client.json(subscribe(client, "a", FOREVER))
        await client.message("next", "data")
        client.json({"type": COMPLETE[protocol], "id": "a"})
        await part(client)

    # The legacy host also says that it has stopped.
    says_so = [("complete", "PRODUCER", "subscription", None)] if protocol == LEGACY else []
    assert messages(telemetry)[3:] == [
        (RESULT[protocol], "PRODUCER", "subscription", None),
        (COMPLETE[protocol], "CONSUMER", "subscription", None),
        *says_so,
    ]


async def test_a_frame_that_is_no_json_has_a_span_with_its_error(telemetry: Telemetry) -> None:
    async with hosting(view_of(telemetry)) as host:
        client = await host.acknowledged()
        client.send(Frame(Opcode.TEXT, b"no JSON"))
        await client.until_end()
    assert messages(telemetry)[2:] == [
        ("_OTHER", "CONSUMER", CONNECTION, "strawberry.http.exceptions.NonJsonMessageReceived")
    ]


async def test_a_frame_that_the_legacy_host_skips_has_a_span(telemetry: Telemetry) -> None:
    async with hosting(view_of(telemetry)) as host:
        client = await host.acknowledged(LEGACY)
        client.send(Frame(Opcode.TEXT, b"no JSON"))
        client.json({"type": "unknown"})
        await part(client)
    assert messages(telemetry)[2:] == [
        ("_OTHER", "CONSUMER", CONNECTION, "_OTHER"),
        ("_OTHER", "CONSUMER", CONNECTION, None),
    ]


async def test_a_ping_and_its_pong_are_below_the_connection(telemetry: Telemetry) -> None:
    async with hosting(view_of(telemetry)) as host:
        client = await host.acknowledged()
        client.json({"type": "ping", "payload": {"secret": 1}})
        await client.message("pong")
        await part(client)
    assert messages(telemetry)[2:] == [
        ("ping", "CONSUMER", CONNECTION, None),
        ("pong", "PRODUCER", CONNECTION, None),
    ]


def name_of_current() -> str:
    return str(getattr(trace.get_current_span(), "name", ""))


@pytest.mark.parametrize("protocol", BOTH)
async def test_each_code_of_the_application_runs_in_the_span_that_it_belongs_to(
    protocol: str, telemetry: Telemetry
) -> None:
    seen: dict[str, set[str]] = {}

    def sees(where: str) -> None:
        seen.setdefault(where, set()).add(name_of_current())

    class Adapter(AiohttpWebSocketAdapter):
        async def send_json(self, message: Mapping[str, object]) -> None:
            await asyncio.sleep(0)
            sees(f"the send of {message['type']}")
            await super().send_json(message)

    class OwnView(View):
        websocket_adapter_class = Adapter

        async def on_ws_connect(self, context: Any) -> Any:
            sees("on_ws_connect")
            return await super().on_ws_connect(context)

    @strawberry.type
    class Subscription:
        @strawberry.subscription
        async def numbers(self) -> AsyncGenerator[int, None]:
            for number in range(3):
                sees("the generator")
                yield number
            sees("the generator")

    schema = strawberry.Schema(Query, subscription=Subscription, extensions=[OTelExtension])
    async with hosting(view_of(telemetry, schema, OwnView)) as host:
        client = await host.acknowledged(protocol)
        client.json(subscribe(client, "a", "subscription { numbers }"))
        await client.message("complete")
        await part(client)

    result = RESULT[protocol]
    assert seen == {
        "on_ws_connect": {"graphql.ws.connection_init"},
        "the send of connection_ack": {"graphql.ws.connection_ack"},
        "the generator": {"subscription"},
        f"the send of {result}": {f"graphql.ws.{result}"},
        "the send of complete": {"graphql.ws.complete"},
    }
