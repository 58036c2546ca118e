"""The whole telemetry of operations over a WebSocket, from their first message to every end."""

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import strawberry
from graphql import GraphQLError
from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN, Tracer

from strawberry_ws_otel import OTelExtension, connection_span
from tests.support.clock import Clock, stop_clock
from tests.support.expected import (
    CONNECTION,
    EXECUTION,
    GREETING,
    INIT,
    NORMAL,
    OPERATION,
    PARSING,
    RESULT,
    VALIDATION,
    Event,
    SpanDict,
    connection,
    init,
    operation,
    phases,
    received,
    recorded,
    results_of,
    sent,
    span,
    stopped,
)
from tests.support.hosting import SINCE_STREAMS, Host, hosting, part
from tests.support.log import LIBRARY
from tests.support.raw_client import Client
from tests.support.scenarios.model import BOTH, Verdict, by_client, by_server, without_frames
from tests.support.scenarios.steps import LEGACY, TRANSPORT, subscribe
from tests.support.schema import (
    BROKEN,
    FAILING,
    FOREVER,
    HELLO,
    INVALID,
    PARTIAL,
    RENAME,
    STRANGE,
    TICKS,
    UNPARSABLE,
    make_schema,
)
from tests.support.server import Gate
from tests.support.telemetry import Telemetry, attributes_of, labels
from tests.support.views import View, instrumented

TWO = {"to": 2}
LIMIT = {"max_subscriptions_per_connection": 1}
COMPLETE = sent("complete")
ERROR = sent("error")
BROKEN_FIELD = {
    "graphql.error.message": "broken field",
    "exception.type": "tests.support.schema.AppError",
    "exception.message": "broken field",
}
GRAPHQL_ERROR = "graphql.error.graphql_error.GraphQLError"


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return stop_clock(monkeypatch)


def plain_view(telemetry: Telemetry, *extensions: Any, **options: Any) -> View:
    schema = make_schema(*(extensions or (OTelExtension,)))
    return instrumented(telemetry)(schema=schema, keep_alive=False, **options)


def graphql_error(**attributes: Any) -> Event:
    return "graphql.error", {f"graphql.error.{key}": value for key, value in attributes.items()}


async def ask(client: Client, query: str, id_: Any = "a", **payload: Any) -> None:
    """Ask for an operation, and listen until it is over."""
    client.json(subscribe(client, id_, query, **payload))
    await client.message("complete", "error")


async def go_live(client: Client, id_: str = "a") -> None:
    """Ask for a subscription, which sends one result and no more."""
    client.json(subscribe(client, id_, FOREVER))
    await client.message("next", "data")


async def converse(host: Host, protocol: str, query: str, **payload: Any) -> None:
    """Open a connection for one operation, and close it."""
    client = await host.acknowledged(protocol)
    await ask(client, query, **payload)
    await part(client)


# --- Whole spans -----------------------------------------------------------------------------


@pytest.mark.parametrize(("query", "name"), [(HELLO, "Hello"), (RENAME, "Rename")])
async def test_a_query_or_mutation_is_recorded_completely(
    query: str, name: str, telemetry: Telemetry
) -> None:
    async with hosting(plain_view(telemetry)) as host:
        await converse(host, TRANSPORT, query)

    type_ = query.split(maxsplit=1)[0]
    assert recorded(telemetry) == [
        connection(messages=(2, 3), operations=[type_]),
        init(),
        operation(
            query,
            "completed",
            name=name,
            results=1,
            events=[*results_of(TRANSPORT, 1), COMPLETE],
        ),
        *phases(type_, PARSING, VALIDATION, EXECUTION),
    ]


@pytest.mark.parametrize("protocol", BOTH)
async def test_a_subscription_is_recorded_completely(protocol: str, telemetry: Telemetry) -> None:
    async with hosting(plain_view(telemetry)) as host:
        await converse(host, protocol, TICKS, variables=TWO)

    assert recorded(telemetry) == [
        connection(protocol, messages=(2, 4), operations=["subscription"]),
        init(),
        operation(
            TICKS,
            "completed",
            protocol=protocol,
            name="Ticks",
            results=2,
            events=[*results_of(protocol, 1, 2), COMPLETE],
        ),
    ]


@SINCE_STREAMS
async def test_a_query_over_the_legacy_subprotocol_is_refused_by_the_host(
    telemetry: Telemetry,
) -> None:
    async with hosting(plain_view(telemetry)) as host:
        await converse(host, LEGACY, HELLO)

    assert recorded(telemetry) == [
        connection(LEGACY, messages=(2, 2), operations=["query"]),
        init(),
        operation(
            HELLO,
            "error",
            protocol=LEGACY,
            name="Hello",
            events=[("graphql.error", {}), ERROR],
            errors=1,
            error="strawberry.schema.exceptions.InvalidOperationTypeError",
        ),
        *phases("query", PARSING),
    ]


@pytest.mark.parametrize("protocol", BOTH)
async def test_errors_of_resolvers_are_recorded_and_the_result_still_counts(
    protocol: str, telemetry: Telemetry
) -> None:
    async with hosting(plain_view(telemetry)) as host:
        await converse(host, protocol, PARTIAL)

    where = {"graphql.error.locations": "1:40", "graphql.error.path": "partial.broken"}
    assert recorded(telemetry, "subscription") == [
        operation(
            PARTIAL,
            "completed",
            protocol=protocol,
            name="Partial",
            results=1,
            events=[
                ("graphql.error", {**BROKEN_FIELD, **where}),
                *results_of(protocol, 1),
                COMPLETE,
            ],
            errors=1,
            error="tests.support.schema.AppError",
        )
    ]


async def test_a_source_that_is_stopped_may_still_read_its_span(telemetry: Telemetry) -> None:
    read: list[Any] = []
    over = asyncio.Event()

    @strawberry.type
    class Reading:
        @strawberry.subscription
        async def ticks(self) -> AsyncGenerator[int, None]:
            span: Any = trace.get_current_span()
            try:
                yield 1
                await asyncio.Event().wait()
            finally:
                read.extend([span.name, span.attributes["graphql.ws.operation.id"]])
                over.set()

    async with hosting(instrumented(telemetry)(schema=own_schema(Reading))) as host:
        client = await host.acknowledged()
        client.json(subscribe(client, "a", "subscription { ticks }"))
        await client.message("next")
        client.json({"type": "complete", "id": "a"})
        await over.wait()
        await part(client)

    assert read == ["subscription", "a"]


AGAIN = GraphQLError("again", path=["late", "value"])
"""An error that an application raises for every result: it has a path, and is not wrapped."""


@strawberry.type
class Late:
    @strawberry.field
    def value(self) -> int | None:
        raise AGAIN


@strawberry.type
class Repeating:
    @strawberry.subscription
    async def late(self) -> AsyncGenerator[Late, None]:
        for _ in range(3):
            yield Late()


@pytest.mark.parametrize("protocol", BOTH)
async def test_the_same_error_in_every_result_is_recorded_for_each(
    protocol: str, telemetry: Telemetry
) -> None:
    schema = own_schema(Repeating)
    async with hosting(instrumented(telemetry)(schema=schema, keep_alive=False)) as host:
        client = await host.acknowledged(protocol)
        client.json(subscribe(client, "a", "subscription { late { value } }"))
        await client.message("complete")
        await part(client)

    [one] = telemetry.spans("subscription")
    assert attributes_of(one)["graphql.error.count"] == 3
    assert telemetry.metrics()["graphql.server.subscription.event_count"] == {
        frozenset(): 0,
        labels({"error.type": "graphql.error.graphql_error.GraphQLError"}): 3,
    }


async def test_the_error_of_a_query_is_recorded(telemetry: Telemetry) -> None:
    async with hosting(plain_view(telemetry)) as host:
        await converse(host, TRANSPORT, BROKEN)

    where = {"graphql.error.locations": "1:16", "graphql.error.path": "broken"}
    assert recorded(telemetry, "query") == [
        operation(
            BROKEN,
            "completed",
            name="Broken",
            results=1,
            events=[
                ("graphql.error", {**BROKEN_FIELD, **where}),
                *results_of(TRANSPORT, 1),
                COMPLETE,
            ],
            errors=1,
            error="tests.support.schema.AppError",
        )
    ]


@pytest.mark.parametrize("protocol", BOTH)
async def test_a_source_that_fails_has_completed_with_an_error(
    protocol: str, telemetry: Telemetry
) -> None:
    async with hosting(plain_view(telemetry)) as host:
        await converse(host, protocol, FAILING)

    dry = {"graphql.error.message": "the source is dry", "exception.message": "the source is dry"}
    [subscription] = recorded(telemetry, "subscription")
    [(_, error)] = [event for event in subscription["events"] if event[0] == "graphql.error"]
    assert error == {**error, **dry, "exception.type": "tests.support.schema.AppError"}
    assert subscription == operation(
        FAILING,
        "completed",
        protocol=protocol,
        name="Failing",
        results=2,
        events=[
            *results_of(protocol, 1),
            ("graphql.error", error),
            *results_of(protocol, 2),
            COMPLETE,
        ],
        errors=1,
        error="tests.support.schema.AppError",
    )


async def test_times_are_those_that_passed(telemetry: Telemetry, clock: Clock) -> None:
    @strawberry.type
    class Slow:
        @strawberry.subscription
        async def slow(self) -> AsyncGenerator[int, None]:
            clock.passes(0.5)
            yield 1
            clock.passes(0.25)
            yield 2

    schema = own_schema(Slow)
    async with hosting(instrumented(telemetry)(schema=schema)) as host:
        client = await host.acknowledged()
        await ask(client, "subscription { slow }")
        clock.passes(8)
        await part(client)

    [slow] = recorded(telemetry, "subscription")
    [whole] = recorded(telemetry, CONNECTION)
    assert slow["attributes"]["graphql.ws.time_to_first_result"] == 0.5
    assert whole["attributes"]["graphql.ws.receive_idle_time"] == 8.75
    [duration] = telemetry.points("graphql.ws.operation.duration")
    [life] = telemetry.points("websocket.server.connection.duration")
    assert (duration.sum, life.sum) == (0.75, 8.75)


# --- Every end -------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", BOTH)
async def test_what_the_client_completes_has_not_failed(
    protocol: str, telemetry: Telemetry
) -> None:
    async with hosting(plain_view(telemetry)) as host:
        client = await host.acknowledged(protocol)
        await go_live(client)
        client.json({"type": {TRANSPORT: "complete", LEGACY: "stop"}[protocol], "id": "a"})
        await part(client)

    # The legacy host answers a `stop`, whose operation is over by then.
    answers = [COMPLETE] if protocol == LEGACY else []
    assert recorded(telemetry, CONNECTION, "subscription") == [
        connection(
            protocol,
            messages=(3, 2 + len(answers)),
            operations=["subscription"],
            events=[*GREETING, *answers],
        ),
        operation(
            FOREVER,
            "client_completed",
            protocol=protocol,
            name="Forever",
            results=1,
            events=[*results_of(protocol, 1), stopped(protocol)],
        ),
    ]


@pytest.mark.parametrize("protocol", BOTH)
async def test_an_invalid_document_ends_in_an_error(protocol: str, telemetry: Telemetry) -> None:
    async with hosting(plain_view(telemetry)) as host:
        await converse(host, protocol, INVALID)

    assert recorded(telemetry) == [
        connection(protocol, messages=(2, 2), operations=["subscription"]),
        init(),
        operation(
            INVALID,
            "error",
            protocol=protocol,
            events=[graphql_error(locations="1:16"), ERROR],
            errors=1,
            error=GRAPHQL_ERROR,
        ),
    ]


async def test_a_syntax_error_over_the_legacy_subprotocol_has_no_type(
    telemetry: Telemetry,
) -> None:
    async with hosting(plain_view(telemetry)) as host:
        await converse(host, LEGACY, UNPARSABLE)

    assert recorded(telemetry) == [
        connection(LEGACY, messages=(2, 2), operations=[OPERATION]),
        init(),
        operation(
            UNPARSABLE,
            "error",
            protocol=LEGACY,
            known=False,
            events=[graphql_error(locations="1:23"), ERROR],
            errors=1,
            error="graphql.error.syntax_error.GraphQLSyntaxError",
        ),
    ]


@SINCE_STREAMS
async def test_a_syntax_error_closes_the_connection_with_everything_on_it(
    telemetry: Telemetry,
) -> None:
    async with hosting(plain_view(telemetry)) as host:
        client = await host.acknowledged()
        await go_live(client, "live")
        client.echoes = False
        client.json(subscribe(client, "a", UNPARSABLE))
        await client.until_end()

    verdict = by_server("invalid_message", 4400, "Syntax Error")
    description = "interrupted by an abnormal close: invalid_message"
    assert recorded(telemetry) == [
        connection(
            TRANSPORT,
            verdict,
            messages=(3, 2),
            operations=["subscription", OPERATION],
            interrupted=2,
        ),
        init(),
        operation(
            FOREVER,
            "connection_closed",
            id_="live",
            name="Forever",
            results=1,
            events=results_of(TRANSPORT, 1),
            verdict=verdict,
            error="invalid_message",
            description=description,
        ),
        operation(
            UNPARSABLE,
            "connection_closed",
            known=False,
            events=[graphql_error(locations="1:23")],
            errors=1,
            verdict=verdict,
            error="graphql.error.syntax_error.GraphQLSyntaxError",
            description=description,
        ),
    ]


@pytest.mark.parametrize("protocol", BOTH)
async def test_one_more_than_the_limit_is_rejected(protocol: str, telemetry: Telemetry) -> None:
    async with hosting(plain_view(telemetry, **LIMIT)) as host:
        client = await host.acknowledged(protocol)
        await go_live(client, "live")
        await ask(client, FOREVER)
        await part(client)

    assert recorded(telemetry, CONNECTION, "subscription", OPERATION) == [
        connection(
            protocol, messages=(3, 3), operations=["subscription", OPERATION], interrupted=1
        ),
        operation(
            FOREVER,
            "connection_closed",
            protocol=protocol,
            id_="live",
            name="Forever",
            results=1,
            events=results_of(protocol, 1),
            verdict=NORMAL,
        ),
        operation(
            FOREVER,
            "rejected",
            protocol=protocol,
            known=False,
            events=[ERROR],
            error="rejected",
        ),
    ]


@pytest.mark.parametrize("protocol", BOTH)
async def test_an_operation_before_the_init_is_rejected(
    protocol: str, telemetry: Telemetry
) -> None:
    async with hosting(plain_view(telemetry)) as host:
        client = await host.connect(protocol)
        client.json(subscribe(client, "a", HELLO))
        await client.until_end()

    assert recorded(telemetry) == [
        connection(
            protocol,
            by_server("unauthorized", 4401, "Unauthorized", echo=4401),
            messages=(1, 0),
            operations=[OPERATION],
            acknowledged=False,
            links=[OPERATION],
            events=(),
        ),
        operation(HELLO, "rejected", protocol=protocol, known=False, error="rejected"),
    ]


async def test_the_id_of_a_live_operation_is_rejected_and_ends_both(telemetry: Telemetry) -> None:
    async with hosting(plain_view(telemetry)) as host:
        client = await host.acknowledged()
        await go_live(client)
        client.json(subscribe(client, "a", HELLO))
        await client.until_end()

    verdict = by_server("duplicate_operation", 4409, "Subscriber for a already exists", echo=4409)
    assert recorded(telemetry, CONNECTION, "subscription", OPERATION) == [
        connection(
            TRANSPORT,
            verdict,
            messages=(3, 2),
            operations=["subscription", OPERATION],
            interrupted=1,
        ),
        operation(
            FOREVER,
            "connection_closed",
            name="Forever",
            results=1,
            events=results_of(TRANSPORT, 1),
            verdict=verdict,
            error="duplicate_operation",
            description="interrupted by an abnormal close: duplicate_operation",
        ),
        operation(HELLO, "rejected", known=False, error="rejected"),
    ]


def resets(client: Client) -> None:
    client.reset()


def leaves(client: Client) -> None:
    client.close(1001, b"bye")


def terminates(client: Client) -> None:
    client.close(4499)


ENDINGS = {
    "a normal close": (leaves, by_client("normal", 1001, "bye")),
    "a close with a complaint": (terminates, by_client("client_terminated", 4499)),
    "a reset": (resets, without_frames("connection_lost")),
}


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_operation_says_what_became_of_its_connection(
    ending: str, protocol: str, telemetry: Telemetry
) -> None:
    end, verdict = ENDINGS[ending]
    async with hosting(plain_view(telemetry)) as host:
        client = await host.acknowledged(protocol)
        await go_live(client)
        end(client)
        await client.until_end()

    assert recorded(telemetry) == [
        connection(protocol, verdict, messages=(2, 2), operations=["subscription"], interrupted=1),
        init(),
        interrupted(protocol, verdict),
    ]


def interrupted(protocol: str, verdict: Verdict) -> SpanDict:
    """The live subscription that a close of this verdict ended."""
    return operation(
        FOREVER,
        "connection_closed",
        protocol=protocol,
        name="Forever",
        results=1,
        events=results_of(protocol, 1),
        verdict=verdict,
        error=verdict.outcome if verdict.abnormal else None,
        description=f"interrupted by an abnormal close: {verdict.outcome}"
        if verdict.abnormal
        else None,
    )


async def test_a_task_that_dies_of_a_result_has_failed(telemetry: Telemetry) -> None:
    async with hosting(plain_view(telemetry)) as host:
        client = await host.acknowledged()
        await ask(client, STRANGE)
        await part(client)

    assert recorded(telemetry) == [
        connection(messages=(2, 2), operations=["subscription"]),
        init(),
        operation(STRANGE, "failed", name="Strange", events=[COMPLETE], error="TypeError"),
    ]


async def test_a_legacy_task_that_dies_in_silence_has_failed(telemetry: Telemetry) -> None:
    async with hosting(plain_view(telemetry)) as host:
        client = await host.acknowledged(LEGACY)
        client.json(subscribe(client, "a", STRANGE))
        await ask(client, TICKS, "b", variables=TWO)
        await part(client)

    assert recorded(telemetry, CONNECTION, "subscription") == [
        connection(LEGACY, messages=(3, 4), operations=["subscription", "subscription 2"]),
        operation(STRANGE, "failed", protocol=LEGACY, name="Strange", error="TypeError"),
        operation(
            TICKS,
            "completed",
            protocol=LEGACY,
            id_="b",
            name="Ticks",
            results=2,
            events=[*results_of(LEGACY, 1, 2), COMPLETE],
        ),
    ]


# --- Ids -------------------------------------------------------------------------------------


async def test_a_legacy_start_with_the_id_of_a_live_operation_takes_its_place(
    telemetry: Telemetry,
) -> None:
    async with hosting(plain_view(telemetry)) as host:
        client = await host.acknowledged(LEGACY)
        await go_live(client)
        client.json(subscribe(client, "a", TICKS, variables=TWO))
        await client.message("complete")
        await client.message("complete")
        await part(client)

    # The first `complete` is the host's answer for the operation that it cancelled.
    assert recorded(telemetry, CONNECTION, "subscription") == [
        connection(
            LEGACY,
            messages=(3, 6),
            operations=["subscription", "subscription 2"],
            events=[*GREETING, COMPLETE],
        ),
        operation(
            FOREVER,
            "client_completed",
            protocol=LEGACY,
            name="Forever",
            results=1,
            events=results_of(LEGACY, 1),
        ),
        operation(
            TICKS,
            "completed",
            protocol=LEGACY,
            name="Ticks",
            results=2,
            events=[*results_of(LEGACY, 1, 2), COMPLETE],
        ),
    ]


@pytest.mark.parametrize("protocol", BOTH)
async def test_an_id_is_free_again_after_its_operation(protocol: str, telemetry: Telemetry) -> None:
    async with hosting(plain_view(telemetry)) as host:
        client = await host.acknowledged(protocol)
        await ask(client, TICKS, variables=TWO)
        await ask(client, TICKS, variables=TWO)
        await part(client)

    once = operation(
        TICKS,
        "completed",
        protocol=protocol,
        name="Ticks",
        results=2,
        events=[*results_of(protocol, 1, 2), COMPLETE],
    )
    assert recorded(telemetry, CONNECTION, "subscription") == [
        connection(protocol, messages=(3, 7), operations=["subscription", "subscription 2"]),
        once,
        once,
    ]


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize(("id_", "recorded_as"), [(7, "7"), (1.5, "1.5"), (None, "None")])
async def test_an_id_need_not_be_a_string(
    id_: Any, recorded_as: str, protocol: str, telemetry: Telemetry
) -> None:
    async with hosting(plain_view(telemetry)) as host:
        client = await host.acknowledged(protocol)
        await ask(client, TICKS, id_, variables=TWO)
        await part(client)

    assert recorded(telemetry, CONNECTION, "subscription") == [
        connection(protocol, messages=(2, 4), operations=["subscription"]),
        operation(
            TICKS,
            "completed",
            protocol=protocol,
            id_=recorded_as,
            name="Ticks",
            results=2,
            events=[*results_of(protocol, 1, 2), COMPLETE],
        ),
    ]


def ours_alive() -> Counter[type]:
    """How many objects of each class of the library there are."""
    gc.collect()
    classes = (type(thing) for thing in gc.get_objects())
    return Counter(class_ for class_ in classes if str(class_.__module__).startswith(LIBRARY))


async def test_a_thousand_starts_with_one_id_leave_no_operation_behind(
    telemetry: Telemetry,
) -> None:
    number = 1_000
    async with hosting(plain_view(telemetry)) as host:
        client = await host.acknowledged(LEGACY)
        await go_live(client)
        before = ours_alive()
        client.json(*(subscribe(client, "a", FOREVER) for _ in range(number - 1)))
        await client.message("data")
        assert (ours_alive() - before).total() < 10
        await part(client)

    reasons = [
        each["attributes"]["graphql.ws.operation.end_reason"]
        for each in recorded(telemetry, OPERATION, "subscription")
    ]
    assert reasons == ["client_completed"] * (number - 1) + ["connection_closed"]
    assert telemetry.total("graphql.ws.operation.duration") == number
    assert telemetry.total("graphql.server.subscription.active") == 0
    assert telemetry.span_counter.started == telemetry.span_counter.ended


# --- Events ----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", BOTH)
async def test_five_thousand_results_leave_events_at_the_first_eight_and_the_powers_of_two(
    protocol: str, telemetry: Telemetry
) -> None:
    number = 5000
    async with hosting(plain_view(telemetry)) as host:
        await converse(host, protocol, TICKS, variables={"to": number})

    kept = (*range(1, 9), 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
    assert recorded(telemetry, CONNECTION, "subscription") == [
        connection(protocol, messages=(2, number + 2), operations=["subscription"]),
        operation(
            TICKS,
            "completed",
            protocol=protocol,
            name="Ticks",
            results=number,
            events=[*results_of(protocol, *kept), COMPLETE],
        ),
    ]


async def test_pings_are_thinned_on_the_connection_as_well(telemetry: Telemetry) -> None:
    view = instrumented(telemetry, message_events=2)(schema=make_schema(OTelExtension))
    async with hosting(view) as host:
        client = await host.acknowledged()
        for _ in range(20):
            client.json({"type": "ping"})
            await client.message("pong")
        await part(client)

    [whole] = recorded(telemetry, CONNECTION)
    kept = [1, 2, 4, 8, 16]
    events = [event for n in kept for event in (received("ping", n), sent("pong", n))]
    assert whole == connection(messages=(21, 21), events=[*GREETING, *events])


async def test_message_events_can_be_turned_off(telemetry: Telemetry) -> None:
    view = instrumented(telemetry, message_events=0)(schema=make_schema(OTelExtension))
    async with hosting(view) as host:
        await converse(host, TRANSPORT, PARTIAL)

    [whole] = telemetry.spans(CONNECTION)
    [partial] = telemetry.spans("subscription")
    assert [event.name for event in whole.events] == ["websocket.close"]
    assert [event.name for event in partial.events] == ["graphql.error"]
    assert telemetry.total("websocket.server.messages") == 5


# --- Options ---------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", BOTH)
async def test_the_options_of_the_view_hold_for_operations(
    protocol: str, telemetry: Telemetry
) -> None:
    class_ = instrumented(
        telemetry, phase_spans=False, capture_document=True, name_spans_after_operation=True
    )
    view = class_(schema=make_schema(OTelExtension), keep_alive=False)
    async with hosting(view) as host:
        await converse(host, protocol, TICKS, variables=TWO)

    name = "subscription Ticks"
    ticks = operation(
        TICKS,
        "completed",
        protocol=protocol,
        name="Ticks",
        results=2,
        events=[*results_of(protocol, 1, 2), COMPLETE],
    )
    ticks["attributes"]["graphql.document"] = TICKS
    assert recorded(telemetry) == [
        connection(protocol, messages=(2, 4), operations=[name]),
        init(),
        {**ticks, "name": name},
    ]


# --- What the application sees ---------------------------------------------------------------


@strawberry.type
class Greeting:
    """A schema whose parts do nothing but what a test asks of them."""

    @strawberry.field
    def hello(self) -> str:
        return "world"


def own_schema(subscription: type, query: type = Greeting) -> strawberry.Schema:
    return strawberry.Schema(query=query, subscription=subscription, extensions=[OTelExtension])


@dataclass
class Witness:
    """What was seen where."""

    tracer: Tracer
    seen: list[tuple[str, str]] = field(default_factory=list)

    def sees(self, where: str) -> None:
        """Make a child span, as an instrumented client of a database would."""
        current: Any = trace.get_current_span()
        self.seen.append((where, current.name))
        with self.tracer.start_as_current_span(where):
            connection_span().set_attribute(f"seen.{where}", "yes")


@pytest.fixture
def witness(telemetry: Telemetry) -> Witness:
    return Witness(telemetry.tracer_provider.get_tracer("application"))


def witnessed_schema(witness: Witness, gate: Gate) -> strawberry.Schema:
    @strawberry.type
    class Item:
        @strawberry.field
        async def field(self) -> int:
            await asyncio.sleep(0)
            witness.sees("field")
            return 1

    @strawberry.type
    class Subscription:
        @strawberry.subscription
        async def items(self) -> AsyncGenerator[Item, None]:
            witness.sees("source")
            yield Item()
            await gate.wait()
            witness.sees("after await")
            await asyncio.to_thread(witness.sees, "thread")

    @strawberry.type
    class Query:
        @strawberry.field
        async def answer(self) -> int:
            await asyncio.sleep(0)
            witness.sees("resolver")
            return 42

    return own_schema(Subscription, Query)


def witnessed_view(telemetry: Telemetry, witness: Witness, gate: Gate) -> View:
    class Connected(View):
        async def get_context(self, request: Any, response: Any) -> Any:
            witness.sees("context")
            return {}

        async def on_ws_connect(self, context: Any) -> Any:
            witness.sees("connect")
            return await super().on_ws_connect(context)

    return instrumented(telemetry, Connected)(
        schema=witnessed_schema(witness, gate), keep_alive=False
    )


@pytest.mark.parametrize("protocol", BOTH)
async def test_the_application_runs_inside_the_span_of_what_it_does(
    protocol: str, telemetry: Telemetry, witness: Witness
) -> None:
    gate = Gate()
    async with hosting(witnessed_view(telemetry, witness, gate)) as host:
        client = await host.acknowledged(protocol)
        client.json(subscribe(client, "a", "subscription { items { field } }"))
        await client.message(RESULT[protocol])
        await gate.reached.wait()
        gate.opened.set()
        await client.message("complete")
        await part(client)

    inside = {
        "context": CONNECTION,
        "connect": INIT,
        "source": "subscription",
        "field": "subscription",
        "after await": "subscription",
        "thread": "subscription",
    }
    assert witness.seen == list(inside.items())
    assert recorded(telemetry, *inside) == [
        span(where, kind="INTERNAL", parent=parent) for where, parent in inside.items()
    ]
    [whole] = recorded(telemetry, CONNECTION)
    assert {key for key in whole["attributes"] if key.startswith("seen.")} == {
        f"seen.{where}" for where in inside
    }


async def test_a_resolver_of_a_query_runs_inside_its_span(
    telemetry: Telemetry, witness: Witness
) -> None:
    async with hosting(witnessed_view(telemetry, witness, Gate())) as host:
        await converse(host, TRANSPORT, "query { answer }")

    assert witness.seen[-1] == ("resolver", "query")
    assert recorded(telemetry, "resolver") == [span("resolver", kind="INTERNAL", parent="query")]


async def test_outside_a_connection_there_is_no_connection_span(telemetry: Telemetry) -> None:
    found = []

    @strawberry.type
    class Query:
        @strawberry.field
        def found(self) -> bool:
            found.append(connection_span())
            return True

    schema = strawberry.Schema(query=Query, extensions=[OTelExtension])
    async with hosting(instrumented(telemetry)(schema=schema)) as host:
        await host.post({"query": "{ found }"})
        await part(await host.acknowledged())

    assert [*found, connection_span()] == [INVALID_SPAN, INVALID_SPAN]


async def test_the_tenant_that_on_ws_connect_puts_on_the_connection_span_is_recorded(
    telemetry: Telemetry,
) -> None:
    class Tenanted(View):
        async def on_ws_connect(self, context: Any) -> Any:
            connection_span().set_attribute("tenant", context["connection_params"]["tenant"])
            return await super().on_ws_connect(context)

    view = instrumented(telemetry, Tenanted)(schema=make_schema(OTelExtension))
    async with hosting(view) as host:
        await part(await host.acknowledged(payload={"tenant": "acme"}))

    assert recorded(telemetry) == [connection(messages=(1, 1), tenant="acme"), init()]


@pytest.mark.parametrize("protocol", BOTH)
async def test_two_operations_on_one_connection_never_mix(
    protocol: str, telemetry: Telemetry
) -> None:
    turns = {name: asyncio.Queue[int]() for name in ("left", "right")}
    tracer = telemetry.tracer_provider.get_tracer("application")

    @strawberry.type
    class Sides:
        @strawberry.subscription
        async def side(self, name: str) -> AsyncGenerator[int, None]:
            while turn := await turns[name].get():
                with tracer.start_as_current_span(name):
                    await asyncio.sleep(0)
                yield turn

    async with hosting(instrumented(telemetry)(schema=own_schema(Sides), keep_alive=False)) as host:
        client = await host.acknowledged(protocol)
        client.json(*(subscribe(client, name, side(name)) for name in turns))
        for turn in (1, 2):
            for name in ("left", "right", "right"):
                turns[name].put_nowait(turn)
                assert (await client.message(RESULT[protocol]))["id"] == name
        for name, queue in turns.items():
            queue.put_nowait(0)
            assert (await client.message("complete"))["id"] == name
        await part(client)

    assert recorded(telemetry, "subscription") == [
        whole_side(protocol, "left", 2),
        whole_side(protocol, "right", 4),
    ]
    labels = {"left": "subscription", "right": "subscription 2"}
    assert recorded(telemetry, *labels) == [
        span(name, kind="INTERNAL", parent=labels[name]) for name in ("left", "right", "right") * 2
    ]


def side(name: str) -> str:
    return f'subscription {{ side(name: "{name}") }}'


def whole_side(protocol: str, name: str, results: int) -> SpanDict:
    return operation(
        side(name),
        "completed",
        protocol=protocol,
        id_=name,
        results=results,
        events=[*results_of(protocol, *range(1, results + 1)), COMPLETE],
    )


# --- The mixin alone -------------------------------------------------------------------------


@asynccontextmanager
async def without_extension(telemetry: Telemetry, protocol: str) -> AsyncIterator[Client]:
    view = instrumented(telemetry)(schema=make_schema(), keep_alive=False)
    async with hosting(view) as host:
        client = await host.acknowledged(protocol)
        yield client
        await part(client)


@pytest.mark.parametrize("protocol", BOTH)
async def test_the_mixin_alone_knows_what_crosses_the_wire(
    protocol: str, telemetry: Telemetry
) -> None:
    async with without_extension(telemetry, protocol) as client:
        await ask(client, PARTIAL)
        await ask(client, TICKS, "b", operationName="Ticks", variables=TWO)

    assert recorded(telemetry) == [
        connection(protocol, messages=(3, 6), operations=[OPERATION, f"{OPERATION} 2"]),
        init(),
        operation(
            PARTIAL,
            "completed",
            protocol=protocol,
            known=False,
            results=1,
            events=[*results_of(protocol, 1), COMPLETE],
        ),
        operation(
            TICKS,
            "completed",
            protocol=protocol,
            id_="b",
            known=False,
            results=2,
            events=[*results_of(protocol, 1, 2), COMPLETE],
            name="Ticks",
        ),
    ]
    metrics = telemetry.metrics()
    assert metrics["graphql.ws.operation.duration"] == {
        frozenset({("graphql.ws.operation.end_reason", "completed")}): 2
    }
    assert metrics["graphql.server.subscription.event_count"] == {frozenset(): 0}
    assert "graphql.server.request.duration" not in metrics


async def test_the_mixin_alone_records_a_legacy_task_that_dies(telemetry: Telemetry) -> None:
    async with without_extension(telemetry, LEGACY) as client:
        client.json(subscribe(client, "a", STRANGE))
        await ask(client, TICKS, "b", variables=TWO)

    [died, _] = recorded(telemetry, OPERATION)
    assert died == operation(STRANGE, "failed", protocol=LEGACY, known=False, error="TypeError")


# --- Eager tasks -----------------------------------------------------------------------------


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
@pytest.mark.parametrize("protocol", BOTH)
async def test_eager_tasks_are_recorded_like_others(protocol: str, telemetry: Telemetry) -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009  # for Python 3.11
    async with hosting(plain_view(telemetry)) as host:
        await converse(host, protocol, TICKS, variables=TWO)

    assert recorded(telemetry) == [
        connection(protocol, messages=(2, 4), operations=["subscription"]),
        init(),
        operation(
            TICKS,
            "completed",
            protocol=protocol,
            name="Ticks",
            results=2,
            events=[*results_of(protocol, 1, 2), COMPLETE],
        ),
    ]
