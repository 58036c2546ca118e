"""The extension alone records every operation: over HTTP, in streams, and in plain Python."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextvars import copy_context
from typing import Any, ClassVar, NewType

import aiohttp
import pytest
import strawberry
from graphql import GraphQLError, parse
from opentelemetry import baggage, trace
from opentelemetry.context import attach, get_value, set_value
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import SpanKind, StatusCode
from strawberry.extensions import MaskErrors, SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.types import Info

from strawberry_ws_otel import OTelExtension
from tests.support.clock import stop_clock
from tests.support.expected import (
    CONNECTION,
    EXECUTION,
    INIT,
    OPERATION,
    PARSING,
    VALIDATION,
    Event,
    executed,
    hashed,
    operation,
    phases,
    recorded,
    results_of,
    sent,
    span,
    standalone,
)
from tests.support.hosting import SINCE_STREAMS, Host, hosting, part
from tests.support.log import LogKeeper, is_internal
from tests.support.scenarios.steps import TRANSPORT, subscribe
from tests.support.schema import BROKEN, HELLO, PARTIAL, RENAME, TICKS, UNPARSABLE, make_schema
from tests.support.telemetry import Curious, Telemetry, labels
from tests.support.views import Ends, View, config, extension, instrumented

THREE_PHASES = (PARSING, VALIDATION, EXECUTION)
GRAPHQL_ERROR = "graphql.error.graphql_error.GraphQLError"
SYNTAX_ERROR = "graphql.error.syntax_error.GraphQLSyntaxError"
APP_ERROR = "tests.support.schema.AppError"
REMOTE = f"{0xA:032x}-{0xA1:016x}"
TRACEPARENT = {"traceparent": f"00-{REMOTE}-01"}
SECRET = "s3cr3t-w0rd"  # noqa: S105  # whatever must not be found
STREAMS = {
    "multipart": "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json",
    "sse": "text/event-stream",
}


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


def plain_view(telemetry: Telemetry, **options: Any) -> View:
    """A view without the mixin; the extension has these options."""
    return View(schema=make_schema(extension(telemetry, **options)))


async def post(view: View, document: str | None, **request: Any) -> tuple[int, Any]:
    async with hosting(view) as host:
        return await host.post({"query": document, **request})


def errors_of(error: str, **attributes: str) -> list[Event]:
    """The event of an error that a resolver raised."""
    where = {f"graphql.error.{key}": value for key, value in attributes.items()}
    raised = {"exception.type": error, "exception.message": attributes["message"]}
    return [("graphql.error", where | raised)]


def at(locations: str) -> list[Event]:
    """The event of an error of which nothing is recorded but its place."""
    return [("graphql.error", {"graphql.error.locations": locations})]


def requests(telemetry: Telemetry) -> dict[Any, float]:
    return telemetry.metrics().get("graphql.server.request.duration", {})


def request(operation_type: str | None, error: str | None = None) -> Any:
    attributes = {"graphql.operation.type": operation_type, "error.type": error}
    return labels({key: value for key, value in attributes.items() if value is not None})


def exported(telemetry: Telemetry, log: LogKeeper) -> str:
    """Everything that leaves the process, as text."""
    spans = [each.to_json() for each in telemetry.spans()]
    data = telemetry.reader.get_metrics_data()
    records = [str(vars(record)) for record in log.records]
    return "\n".join([*spans, data.to_json() if data else "", *records])


# --- Requests --------------------------------------------------------------------------------


@pytest.mark.parametrize(("document", "name"), [(HELLO, "Hello"), (RENAME, "Rename")])
async def test_a_request_is_one_trace_with_its_phases(
    document: str, name: str, telemetry: Telemetry
) -> None:
    status, _ = await post(plain_view(telemetry), document)

    type_ = document.split(maxsplit=1)[0]
    assert status == 200
    assert recorded(telemetry) == [standalone(document, name=name), *phases(type_, *THREE_PHASES)]
    assert requests(telemetry) == {request(type_): 1}


async def test_a_query_whose_client_has_gone_is_no_success(telemetry: Telemetry) -> None:
    asked = asyncio.Event()

    @strawberry.type
    class Slow:
        @strawberry.field
        async def answer(self) -> int:
            asked.set()
            await asyncio.Event().wait()
            return 42

    schema = strawberry.Schema(query=Slow, extensions=[extension(telemetry)])
    async with hosting(View(schema=schema), handler_cancellation=True) as host:
        client = asyncio.create_task(host.post({"query": "{ answer }"}))
        await asked.wait()
        client.cancel()
        await host.served()

    [query] = telemetry.spans("query")
    assert query.status.status_code is StatusCode.ERROR
    assert requests(telemetry) == {request("query", "asyncio.exceptions.CancelledError"): 1}
    assert telemetry.span_counter.started == telemetry.span_counter.ended


async def test_each_operation_of_a_batch_is_a_trace_of_its_own(telemetry: Telemetry) -> None:
    schema = strawberry.Schema(
        query=Nesting,
        extensions=[extension(telemetry)],
        config=StrawberryConfig(batching_config={"max_operations": 3}),
    )
    batch = [{"query": f"query Number{n} {{ answer }}"} for n in range(3)]
    async with hosting(View(schema=schema)) as host:
        _, answers = await host.post(batch)

    assert answers == [{"data": {"answer": 42}}] * 3
    documents = [each["query"] for each in batch]
    assert recorded(telemetry, "query") == [
        standalone(document, name=f"Number{n}") for n, document in enumerate(documents)
    ]
    parents = [each["parent"] for each in recorded(telemetry, EXECUTION)]
    assert parents == ["query", "query 2", "query 3"]
    assert requests(telemetry) == {request("query"): 3}


async def test_a_syntax_error_leaves_the_type_unknown(telemetry: Telemetry) -> None:
    await post(plain_view(telemetry), "{ hello")

    assert recorded(telemetry) == [
        standalone("{ hello", known=False, errors=1, error=SYNTAX_ERROR, events=at("1:8")),
        *phases(OPERATION, PARSING),
    ]
    assert requests(telemetry) == {request(None, SYNTAX_ERROR): 1}


async def test_a_validation_error_ends_before_the_execution(telemetry: Telemetry) -> None:
    document = "query { missing lacking }"
    await post(plain_view(telemetry), document)

    assert recorded(telemetry) == [
        standalone(document, errors=2, error=GRAPHQL_ERROR, events=[*at("1:9"), *at("1:17")]),
        *phases("query", PARSING, VALIDATION),
    ]
    assert requests(telemetry) == {request("query", GRAPHQL_ERROR): 1}


async def test_a_resolver_that_raises_fails_its_operation(telemetry: Telemetry) -> None:
    _, answer = await post(plain_view(telemetry), BROKEN)

    event = errors_of(APP_ERROR, message="broken field", path="broken", locations="1:16")
    assert answer["data"] == {"broken": None}
    assert recorded(telemetry) == [
        standalone(BROKEN, name="Broken", errors=1, error=APP_ERROR, events=event),
        *phases("query", *THREE_PHASES),
    ]
    assert requests(telemetry) == {request("query", APP_ERROR): 1}


async def test_a_partial_result_fails_its_operation_as_well(telemetry: Telemetry) -> None:
    document = "query { hello first: broken second: broken }"
    _, answer = await post(plain_view(telemetry), document)

    assert answer["data"] == {"hello": "world", "first": None, "second": None}
    events = [
        *errors_of(APP_ERROR, message="broken field", path="first", locations="1:15"),
        *errors_of(APP_ERROR, message="broken field", path="second", locations="1:29"),
    ]
    assert recorded(telemetry, "query") == [
        standalone(document, errors=2, error=APP_ERROR, events=events)
    ]


async def test_ten_errors_are_recorded_and_all_are_counted(telemetry: Telemetry) -> None:
    fields = " ".join(f"n{number}: broken" for number in range(25))
    document = f"query {{ {fields} }}"
    await post(plain_view(telemetry), document)

    [query] = recorded(telemetry, "query")
    paths = [attributes["graphql.error.path"] for _, attributes in query["events"]]
    assert paths == [f"n{number}" for number in range(10)]
    assert query == standalone(document, errors=25, error=APP_ERROR, events=query["events"])


async def test_the_code_of_an_error_comes_before_its_class(telemetry: Telemetry) -> None:
    document = "query { coded }"
    schema = strawberry.Schema(query=Failing, extensions=[extension(telemetry)])
    await post(View(schema=schema), document)

    attributes = {
        "graphql.error.message": "coded",
        "graphql.error.path": "coded",
        "graphql.error.locations": "1:9",
        "graphql.error.code": "TEAPOT",
    }
    [query] = recorded(telemetry, "query")
    [(name, event)] = query["events"]
    assert name == "graphql.error"
    assert event == {**event, **attributes}
    assert query == standalone(document, errors=1, error="TEAPOT", events=[(name, event)])
    assert requests(telemetry) == {request("query", "TEAPOT"): 1}


async def test_an_unknown_operation_name_is_recorded_with_the_exception_that_it_raises(
    telemetry: Telemetry,
) -> None:
    status, _ = await post(plain_view(telemetry), HELLO, operationName="Nope")

    error = "strawberry.schema.exceptions.CannotGetOperationTypeError"
    assert status == 400
    assert recorded(telemetry) == [
        standalone(HELLO, known=False, name="Nope", error=error),
        *phases(OPERATION, PARSING),
    ]
    assert requests(telemetry) == {request(None, error): 1}


async def test_a_request_without_a_query_is_recorded(telemetry: Telemetry) -> None:
    status, _ = await post(plain_view(telemetry), None)

    assert status == 400
    assert recorded(telemetry) == [span(OPERATION, error="strawberry.exceptions.MissingQueryError")]


async def test_one_operation_of_several_is_chosen_by_name(telemetry: Telemetry) -> None:
    document = 'query One { hello } mutation Two { rename(name: "x") }'
    await post(plain_view(telemetry), document, operationName="Two")

    mutation = standalone(document, span_name="mutation", known=False, name="Two")
    mutation["attributes"]["graphql.operation.type"] = "mutation"
    assert recorded(telemetry, "mutation") == [mutation]


# --- Plain Python ----------------------------------------------------------------------------


def test_what_is_executed_synchronously_is_recorded_the_same(telemetry: Telemetry) -> None:
    schema = strawberry.Schema(query=Nesting, extensions=[extension(telemetry)])
    document = "query Answer { answer }"
    assert schema.execute_sync(document).data == {"answer": 42}
    assert schema.execute_sync("{").errors

    assert recorded(telemetry) == [
        standalone(document, name="Answer"),
        *phases("query", *THREE_PHASES),
        standalone("{", known=False, errors=1, error=SYNTAX_ERROR, events=at("1:2")),
        *phases(OPERATION, PARSING),
    ]
    assert requests(telemetry) == {request("query"): 1, request(None, SYNTAX_ERROR): 1}


def test_the_current_span_is_the_application_s_own_again_after_an_operation(
    telemetry: Telemetry,
) -> None:
    schema = strawberry.Schema(query=Nesting, extensions=[extension(telemetry)])
    tracer = telemetry.tracer_provider.get_tracer("application")
    with tracer.start_as_current_span("around") as around:
        schema.execute_sync("{ answer }")
        assert trace.get_current_span() is around

    assert [each["parent"] for each in recorded(telemetry, "query")] == ["around"]


@strawberry.type
class Nesting:
    @strawberry.field
    def answer(self) -> int:
        return 42

    @strawberry.field
    async def nested(self, info: Info[Any, Any]) -> int:
        result = await info.schema.execute("query Inner { answer }")
        assert result.data
        number: int = result.data["answer"]
        return number


async def test_an_operation_inside_a_resolver_is_below_the_outer_one(telemetry: Telemetry) -> None:
    schema = strawberry.Schema(query=Nesting, extensions=[extension(telemetry)])
    outer = "query Outer { nested }"
    _, answer = await post(View(schema=schema), outer)

    assert answer == {"data": {"nested": 42}}
    assert recorded(telemetry) == [
        standalone(outer, name="Outer"),
        *phases("query", *THREE_PHASES),
        standalone("query Inner { answer }", name="Inner", parent="query"),
        *phases("query 2", *THREE_PHASES),
    ]


async def test_an_operation_inside_a_resolver_over_a_websocket_is_below_the_outer_one(
    telemetry: Telemetry,
) -> None:
    schema = strawberry.Schema(query=Nesting, extensions=[OTelExtension])
    outer = "query Outer { nested }"
    belongs: dict[str, Any] = {"websocket.connection.id": "c1"}
    async with hosting(instrumented(telemetry)(schema=schema)) as host:
        client = await host.acknowledged()
        client.json(subscribe(client, "a", outer))
        await client.message("complete")
        await part(client)

    assert recorded(telemetry, "query") == [
        operation(
            outer,
            "completed",
            name="Outer",
            results=1,
            events=[*results_of(TRANSPORT, 1), sent("complete")],
        ),
        executed("query Inner { answer }", name="Inner", parent="query", **belongs),
    ]


# --- Streams ---------------------------------------------------------------------------------


def streaming_view(telemetry: Telemetry, kind: str) -> View:
    return View(schema=make_schema(extension(telemetry)), subscription_protocols=streams(kind))


def streams(kind: str) -> list[str]:
    """The protocols of a view that streams; not every supported host knows them all."""
    if kind == "sse":
        streaming = pytest.importorskip("strawberry.http.streaming")
        if not hasattr(streaming, "SSETransport"):
            pytest.skip("this host streams no server-sent events")
    return ["multipart-subscription", "graphql-sse"]


async def ask_for_stream(host: Host, kind: str, document: str, **body: Any) -> Any:
    accept = {"Accept": STREAMS[kind]}
    return await host.session.post(host.url, json={"query": document, **body}, headers=accept)


@pytest.mark.parametrize("kind", STREAMS)
async def test_a_stream_is_recorded_like_any_subscription(kind: str, telemetry: Telemetry) -> None:
    async with hosting(streaming_view(telemetry, kind)) as host:
        response = await ask_for_stream(host, kind, TICKS, variables={"to": 3})
        assert (await response.text()).count('"ticks":') == 3

    assert recorded(telemetry) == [
        standalone(TICKS, name="Ticks"),
    ]
    metrics = telemetry.metrics()
    assert metrics["graphql.server.subscription.active"] == {frozenset(): 0}
    assert metrics["graphql.server.subscription.event_count"] == {frozenset(): 3}
    assert requests(telemetry) == {}


@pytest.mark.parametrize("kind", STREAMS)
async def test_a_stream_with_a_broken_field_has_failed(kind: str, telemetry: Telemetry) -> None:
    async with hosting(streaming_view(telemetry, kind)) as host:
        response = await ask_for_stream(host, kind, PARTIAL)
        assert "broken field" in await response.text()

    events = errors_of(APP_ERROR, message="broken field", path="partial.broken", locations="1:40")
    assert recorded(telemetry, "subscription") == [
        standalone(PARTIAL, name="Partial", errors=1, error=APP_ERROR, events=events)
    ]
    assert telemetry.metrics()["graphql.server.subscription.event_count"] == {
        frozenset(): 0,
        labels({"error.type": APP_ERROR}): 1,
    }


@SINCE_STREAMS
@pytest.mark.parametrize("kind", STREAMS)
async def test_a_stream_with_a_syntax_error_counts_it_once(kind: str, telemetry: Telemetry) -> None:
    document = "subscription {"
    async with hosting(streaming_view(telemetry, kind)) as host:
        response = await ask_for_stream(host, kind, document)
        assert "Syntax Error" in await response.text()

    assert telemetry.metrics()["graphql.server.subscription.event_count"] == {frozenset(): 0}

    assert recorded(telemetry) == [
        standalone(document, known=False, errors=1, error=SYNTAX_ERROR, events=at("1:15"))
    ]


@SINCE_STREAMS
@pytest.mark.parametrize("kind", STREAMS)
async def test_a_stream_with_an_invalid_document_has_no_event(
    kind: str, telemetry: Telemetry
) -> None:
    async with hosting(streaming_view(telemetry, kind)) as host:
        response = await ask_for_stream(host, kind, "subscription { nothing }")
        assert "nothing" in await response.text()

    assert telemetry.metrics()["graphql.server.subscription.event_count"] == {frozenset(): 0}


@pytest.mark.parametrize("kind", STREAMS)
async def test_a_stream_that_its_reader_leaves_ends_once_and_has_not_failed(
    kind: str, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A record that is kept would keep the frames of the handler, and the stream in them.
    monkeypatch.setattr(logging.getLogger("aiohttp.server"), "disabled", True)
    ends = Ends(telemetry)
    view = leaving_view(telemetry, kind)
    # Without cancellation the host learns of it from a write that fails, whenever that is.
    async with hosting(view, handler_cancellation=True) as host:
        response = await ask_for_stream(host, kind, "subscription { endless }")
        await first_result(response)
        assert telemetry.metrics()["graphql.server.subscription.active"] == {frozenset(): 1}
        response.close()
        await host.served()
        await ends.collected("subscription")

    assert recorded(telemetry) == [
        standalone("subscription { endless }"),
    ]
    assert telemetry.span_counter.started == telemetry.span_counter.ended
    assert telemetry.metrics()["graphql.server.subscription.active"] == {frozenset(): 0}


def leaving_view(telemetry: Telemetry, kind: str) -> View:
    @strawberry.type
    class Subscription:
        @strawberry.subscription
        async def endless(self) -> AsyncGenerator[str, None]:
            while True:
                yield "x" * 4096
                await asyncio.sleep(0)

    schema = strawberry.Schema(
        query=Nesting, subscription=Subscription, extensions=[extension(telemetry)]
    )
    return View(schema=schema, subscription_protocols=streams(kind))


async def first_result(response: aiohttp.ClientResponse) -> None:
    while b"endless" not in await response.content.readline():
        pass


# --- Subclasses, factories, instances --------------------------------------------------------


async def test_a_subclass_may_wrap_the_operation_and_add_to_results(telemetry: Telemetry) -> None:
    seen: list[Any] = []

    class Mine(extension(telemetry)):  # type: ignore[misc]  # a class like any other
        def on_operation(self) -> Iterator[None]:
            seen.append("before")
            yield from super().on_operation()
            seen.append("after")

        def get_results(self) -> dict[str, Any]:
            return {**super().get_results(), "mine": 1}

    _, answer = await post(View(schema=make_schema(Mine)), HELLO)

    assert answer == {"data": {"hello": "world"}, "extensions": {"mine": 1}}
    assert seen == ["before", "after"]
    assert recorded(telemetry) == [standalone(HELLO, name="Hello"), *phases("query", *THREE_PHASES)]


async def test_a_subclass_may_be_asynchronous(telemetry: Telemetry) -> None:
    class Mine(extension(telemetry)):  # type: ignore[misc]  # a class like any other
        async def on_operation(self) -> AsyncIterator[None]:
            await asyncio.sleep(0)
            for _ in super().on_operation():
                yield

        async def get_results(self) -> dict[str, Any]:
            await asyncio.sleep(0)
            return {**super().get_results(), "mine": 1}

    _, answer = await post(View(schema=make_schema(Mine)), BROKEN)

    event = errors_of(APP_ERROR, message="broken field", path="broken", locations="1:16")
    assert answer["extensions"] == {"mine": 1}
    assert recorded(telemetry) == [
        standalone(BROKEN, name="Broken", errors=1, error=APP_ERROR, events=event),
        *phases("query", *THREE_PHASES),
    ]


async def test_a_subclass_works_over_a_websocket_too(telemetry: Telemetry) -> None:
    class Mine(OTelExtension):
        def on_operation(self) -> Iterator[None]:
            trace.get_current_span().set_attribute("mine", 1)
            yield from super().on_operation()  # type: ignore[misc]  # of the base, a generator

        def get_results(self) -> dict[str, Any]:
            return {**super().get_results(), "mine": 1}

    async with hosting(instrumented(telemetry)(schema=make_schema(Mine))) as host:
        client = await host.acknowledged()
        client.json(subscribe(client, "a", TICKS, variables={"to": 1}))
        assert (await client.message("next"))["payload"]["extensions"] == {"mine": 1}
        await client.message("complete")
        await part(client)

    assert recorded(telemetry, "subscription") == [
        operation(
            TICKS,
            "completed",
            name="Ticks",
            results=1,
            events=[*results_of(TRANSPORT, 1), sent("complete")],
            mine=1,
        )
    ]


def test_a_subclass_has_the_configuration_of_its_base_or_its_own(telemetry: Telemetry) -> None:
    class Base(OTelExtension):
        otel_config = config(telemetry, phase_spans=False)

    class Same(Base):
        pass

    class Own(Base):
        otel_config = config(telemetry, phase_spans=False, name_spans_after_operation=True)

    document = "query Answer { answer }"
    for extension_ in (Base, Same, Own):
        schema = strawberry.Schema(query=Nesting, extensions=[extension_])
        schema.execute_sync(document)

    names = [each["name"] for each in recorded(telemetry)]
    assert names == ["query", "query", "query Answer"]
    assert requests(telemetry) == {request("query"): 3}


def test_a_configuration_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Wrong\.otel_config must be an OTelConfig, not \{\}"):

        class Wrong(OTelExtension):
            otel_config: ClassVar[Any] = {}


@pytest.mark.internal_error
@pytest.mark.parametrize("document", [HELLO, BROKEN, UNPARSABLE])
async def test_a_configuration_that_is_broken_later_on_harms_no_request(
    document: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    _, expected = await post(View(schema=make_schema()), document)
    class_ = extension(telemetry)
    class_.otel_config = {}
    _, answer = await post(View(schema=make_schema(class_)), document)

    assert answer == expected
    assert recorded(telemetry) == []
    [record] = library_log.records
    assert is_internal(record)
    assert "must be an OTelConfig" in record.getMessage()


class Unreadable(dict[str, Any]):
    """Extensions that the host can send, and nobody can look anything up in."""

    def get(self, *_: object) -> Any:
        raise RuntimeError("no")


@pytest.mark.internal_error
async def test_an_error_that_cannot_be_read_harms_no_answer(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    @strawberry.type
    class Refusing:
        @strawberry.field
        async def answer(self) -> int:
            raise GraphQLError("bad", extensions=Unreadable(code="BAD"))

    _, expected = await post(View(schema=strawberry.Schema(query=Refusing)), "query { answer }")
    schema = strawberry.Schema(query=Refusing, extensions=[extension(telemetry)])
    _, answer = await post(View(schema=schema), "query { answer }")

    assert answer == expected
    assert answer["errors"][0]["extensions"] == {"code": "BAD"}
    assert recorded(telemetry, "query") == [standalone("query { answer }")]
    assert telemetry.span_counter.started == telemetry.span_counter.ended
    [record] = library_log.records
    assert is_internal(record)


async def test_a_factory_is_as_good_as_the_class(telemetry: Telemetry) -> None:
    class_ = extension(telemetry)
    schema = strawberry.Schema(query=Nesting, extensions=[lambda: class_()])  # noqa: PLW0108
    async with hosting(View(schema=schema)) as host:
        for _ in range(2):
            await host.post({"query": "query { answer }"})

    one = standalone("query { answer }")
    assert recorded(telemetry, "query") == [one, one]


@pytest.mark.internal_error
async def test_an_instance_serves_one_operation_and_says_so_once(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    instance: Any = extension(telemetry)()
    with pytest.warns(DeprecationWarning, match="extension instance"):
        schema = strawberry.Schema(query=Nesting, extensions=[instance])
    async with hosting(View(schema=schema)) as host:
        answers = [await host.post({"query": "query { answer }"}) for _ in range(3)]

    assert answers == [(200, {"data": {"answer": 42}})] * 3
    [record] = library_log.records
    assert is_internal(record)
    assert record.exc_info
    assert "give the class to the schema" in str(record.exc_info[1])
    assert recorded(telemetry, "query") == [standalone("query { answer }")]
    assert telemetry.span_counter.started == telemetry.span_counter.ended


@pytest.mark.internal_error
async def test_an_instance_takes_no_error_of_another_operation_for_its_own(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    instance: Any = extension(telemetry)()
    with pytest.warns(DeprecationWarning, match="extension instance"):
        schema = make_schema(instance)
    async with hosting(View(schema=schema)) as host:
        await host.post({"query": HELLO})
        _, answer = await host.post({"query": BROKEN})

    assert len(answer["errors"]) == 1
    assert recorded(telemetry, "query") == [standalone(HELLO, name="Hello")]
    assert telemetry.span_counter.started == telemetry.span_counter.ended
    assert len(library_log.records) == 1


@pytest.mark.internal_error
async def test_an_instance_ends_its_operation_while_another_one_is_executed(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    both = asyncio.Barrier(2)

    @strawberry.type
    class Waiting:
        @strawberry.field
        async def answer(self) -> int:
            await both.wait()
            return 42

    instance: Any = extension(telemetry)()
    with pytest.warns(DeprecationWarning, match="extension instance"):
        schema = strawberry.Schema(query=Waiting, extensions=[instance])
    async with hosting(View(schema=schema)) as host:
        asked = [host.post({"query": "query { answer }"}) for _ in range(2)]
        answers = await asyncio.gather(*asked)

    assert answers == [(200, {"data": {"answer": 42}})] * 2
    assert len(library_log.records) == 1
    assert len(recorded(telemetry, "query")) == 1
    assert telemetry.span_counter.started == telemetry.span_counter.ended


@pytest.mark.internal_error
async def test_an_instance_does_no_harm_over_a_websocket(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    instance: Any = OTelExtension()
    with pytest.warns(DeprecationWarning, match="extension instance"):
        schema = strawberry.Schema(query=Nesting, extensions=[instance])
    async with hosting(instrumented(telemetry)(schema=schema)) as host:
        client = await host.acknowledged()
        for id_ in ("a", "b"):
            client.json(subscribe(client, id_, "query { answer }"))
            assert await client.message("next") == {
                "id": id_,
                "type": "next",
                "payload": {"data": {"answer": 42}},
            }
            await client.message("complete")
        await part(client)

    reasons = [
        each["attributes"].get("graphql.ws.operation.end_reason") for each in recorded(telemetry)
    ]
    assert reasons.count("completed") == 2
    assert telemetry.span_counter.started == telemetry.span_counter.ended
    assert len(library_log.records) == 1


# --- Beside other extensions -----------------------------------------------------------------


def masked_schema(ours: Any, *, ours_first: bool) -> strawberry.Schema:
    """A schema that hides errors from its clients."""
    both = [ours, MaskErrors]
    return make_schema(*(both if ours_first else reversed(both)))


@pytest.mark.parametrize("ours_first", [True, False])
async def test_an_error_is_recorded_before_another_extension_masks_it(
    ours_first: bool,  # noqa: FBT001  # a parameter of the test
    telemetry: Telemetry,
) -> None:
    schema = masked_schema(extension(telemetry), ours_first=ours_first)
    _, answer = await post(View(schema=schema), BROKEN)

    event = errors_of(APP_ERROR, message="broken field", path="broken", locations="1:16")
    assert answer["errors"][0]["message"] == "Unexpected error."
    assert recorded(telemetry, "query") == [
        standalone(BROKEN, name="Broken", errors=1, error=APP_ERROR, events=event)
    ]


@pytest.mark.parametrize("document", [BROKEN, PARTIAL])
@pytest.mark.parametrize("ours_first", [True, False])
async def test_an_error_over_a_websocket_is_recorded_before_another_extension_masks_it(
    ours_first: bool,  # noqa: FBT001  # a parameter of the test
    document: str,
    telemetry: Telemetry,
) -> None:
    schema = masked_schema(OTelExtension, ours_first=ours_first)
    async with hosting(instrumented(telemetry)(schema=schema)) as host:
        client = await host.acknowledged()
        client.json(subscribe(client, "a", document))
        await client.message("complete")
        await part(client)

    [each] = recorded(telemetry, "query", "subscription")
    [error] = [attributes for name, attributes in each["events"] if name == "graphql.error"]
    assert error["graphql.error.message"] == error["exception.message"] == "broken field"
    assert error["exception.type"] == each["attributes"]["error.type"] == APP_ERROR
    assert each["attributes"]["graphql.error.count"] == 1


# --- Options ---------------------------------------------------------------------------------


async def test_phases_can_be_left_out(telemetry: Telemetry) -> None:
    await post(plain_view(telemetry, phase_spans=False), HELLO)

    assert recorded(telemetry) == [standalone(HELLO, name="Hello")]


async def test_the_document_can_be_recorded(telemetry: Telemetry) -> None:
    await post(plain_view(telemetry, capture_document=True), HELLO)

    [query] = recorded(telemetry, "query")
    assert query["attributes"].pop("graphql.document") == HELLO
    assert query == standalone(HELLO, name="Hello")


async def test_spans_can_be_named_after_operations(telemetry: Telemetry) -> None:
    view = plain_view(telemetry, name_spans_after_operation=True, phase_spans=False)
    async with hosting(view) as host:
        for document in (HELLO, "query { hello }"):
            await host.post({"query": document})

    assert recorded(telemetry) == [
        standalone(HELLO, name="Hello", span_name="query Hello"),
        standalone("query { hello }"),
    ]


@strawberry.type
class Failing:
    @strawberry.field
    def coded(self) -> int | None:
        raise GraphQLError("coded", extensions={"code": "TEAPOT"})


INVALID_DOCUMENT = "query { missing }"


@pytest.mark.parametrize(
    ("error_messages", "invalid", "broken"),
    [
        ("execution", None, "broken field"),
        ("all", "Cannot query field 'missing' on type 'Query'.", "broken field"),
        ("none", None, None),
    ],
)
async def test_messages_of_errors_are_recorded_as_configured(
    error_messages: str, invalid: str | None, broken: str | None, telemetry: Telemetry
) -> None:
    async with hosting(plain_view(telemetry, error_messages=error_messages)) as host:
        await host.post({"query": INVALID_DOCUMENT})
        await host.post({"query": BROKEN})

    messages = [
        (event.get("graphql.error.message"), event.get("exception.message"))
        for each in recorded(telemetry, "query")
        for _, event in each["events"]
    ]
    assert messages == [(invalid, None), (broken, broken)]
    types = [each["attributes"]["error.type"] for each in recorded(telemetry, "query")]
    assert types == [GRAPHQL_ERROR, APP_ERROR]


# --- Privacy ---------------------------------------------------------------------------------


Pin = NewType("Pin", str)


def parse_pin(value: object) -> Pin:
    raise ValueError(f"{value} is no PIN")


@strawberry.input
class Login:
    pin: Pin
    tries: int = 0


@strawberry.type
class Private:
    @strawberry.field
    def echo(self, text: str) -> int:
        return len(text)

    @strawberry.field
    def count(self, number: int) -> int:
        return number

    @strawberry.field
    def login(self, pin: Pin) -> bool:
        return bool(pin)

    @strawberry.field
    def log_in(self, login: Login) -> bool:
        return bool(login)


@strawberry.type
class PrivateSubscription:
    @strawberry.subscription
    async def login(self, pin: Pin) -> AsyncGenerator[bool, None]:
        yield bool(pin)

    @strawberry.subscription
    async def echo(self, text: str) -> AsyncGenerator[int, None]:
        yield len(text)


PRIVATE: dict[str, tuple[str, dict[str, Any]]] = {
    "a variable": ("query($t: String!) { echo(text: $t) }", {"t": SECRET}),
    "a literal": (f'query {{ echo(text: "{SECRET}") }}', {}),
    "a variable of the wrong type": ("query($n: Int!) { count(number: $n) }", {"n": SECRET}),
    "a literal of the wrong type": (f'query {{ count(number: "{SECRET}") }}', {}),
    "a variable that is an object": ("query($t: String!) { echo(text: $t) }", {"t": {SECRET: 1}}),
    "a variable that a scalar cannot parse": (
        "query($p: Pin!) { login(pin: $p) }",
        {"p": SECRET},
    ),
    "a literal that a scalar cannot parse": (f'query {{ login(pin: "{SECRET}") }}', {}),
    "a member of an input": (
        "query($l: Login!) { logIn(login: $l) }",
        {"l": {"pin": SECRET}},
    ),
    "a member of an input that does not exist": (
        "query($l: Login!) { logIn(login: $l) }",
        {"l": {SECRET: "x"}},
    ),
    "a default that a scalar cannot parse": (
        f'query($p: Pin = "{SECRET}") {{ login(pin: $p) }}',
        {},
    ),
    "a syntax error": (f'query {{ echo(text: "{SECRET}" }} {SECRET}', {}),
    "an unclosed string": (f'query {{ echo(text: "{SECRET}', {}),
    "a field": (f"query {{ {SECRET.replace('-', '_')} }}", {}),
}
STREAMED = {
    name.replace("query", "subscription"): (
        document.replace("query", "subscription"),
        variables,
    )
    for name, (document, variables) in PRIVATE.items()
    if "count" not in document and "logIn" not in document
}


def private_schema(*extensions: Any) -> strawberry.Schema:
    pin = strawberry.scalar(name="Pin", serialize=str, parse_value=parse_pin)
    return strawberry.Schema(
        query=Private,
        subscription=PrivateSubscription,
        extensions=list(extensions),
        config=StrawberryConfig(scalar_map={Pin: pin}),
    )


def says_secret(telemetry: Telemetry, log: LogKeeper) -> bool:
    text = exported(telemetry, log)
    return SECRET in text or SECRET.replace("-", "_") in text


@pytest.mark.parametrize("case", PRIVATE)
async def test_what_a_request_holds_is_not_recorded(
    case: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    document, variables = PRIVATE[case]
    view = View(schema=private_schema(extension(telemetry)))
    await post(view, document, variables=variables)

    assert len(recorded(telemetry, "query", OPERATION)) == 1
    assert not says_secret(telemetry, library_log)


async def test_the_search_for_a_secret_finds_what_is_recorded_on_request(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    view = View(schema=private_schema(extension(telemetry, error_messages="all")))
    await post(view, f'query {{ count(number: "{SECRET}") }}')

    assert says_secret(telemetry, library_log)


@pytest.mark.parametrize("case", STREAMED)
async def test_what_a_message_holds_is_not_recorded(
    case: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    document, variables = STREAMED[case]
    view = instrumented(telemetry)(schema=private_schema(OTelExtension))
    async with hosting(view) as host:
        client = await host.acknowledged(payload={"token": SECRET})
        client.json(subscribe(client, "a", document, variables=variables))
        client.json({"type": "ping", "payload": {SECRET: SECRET}})
        client.json({"type": "connection_init", "payload": {"again": SECRET}})
        await client.until_end()

    assert len(recorded(telemetry, "subscription", OPERATION)) == 1
    assert not says_secret(telemetry, library_log)


async def test_the_reason_of_a_close_for_a_syntax_error_does_not_quote_the_document(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    view = instrumented(telemetry)(schema=private_schema(OTelExtension))
    async with hosting(view) as host:
        client = await host.acknowledged()
        client.json(subscribe(client, "a", f"query {{ echo }} {SECRET}"))
        await client.until_end()

    quoted = SECRET.partition("-")[0]
    assert quoted.encode() in client.frames[-1].payload
    [whole] = recorded(telemetry, CONNECTION)
    assert whole["attributes"]["websocket.close.reason"] == "Syntax Error"
    assert quoted not in exported(telemetry, library_log)


# --- The context of the application ----------------------------------------------------------


def test_what_a_resolver_attaches_stays_after_the_operation(telemetry: Telemetry) -> None:
    @strawberry.type
    class Attaching:
        @strawberry.field
        def answer(self) -> int:
            attach(baggage.set_baggage("tenant", "acme"))
            return 42

    def asked() -> object:
        schema = strawberry.Schema(query=Attaching, extensions=[extension(telemetry)])
        assert schema.execute_sync("{ answer }").data == {"answer": 42}
        return baggage.get_baggage("tenant")

    assert copy_context().run(asked) == "acme"


async def test_a_stream_that_another_task_closes_leaves_nothing_in_its_context(
    telemetry: Telemetry,
) -> None:
    streams: list[Any] = []
    schema = make_schema(extension(telemetry))

    async def opens() -> None:
        attach(set_value("tenant", "acme"))
        streams.append(await schema.subscribe(TICKS, variable_values={"to": 3}))
        await anext(streams[0])

    async def closes() -> object:
        await streams[0].aclose()
        return get_value("tenant")

    await asyncio.create_task(opens())
    assert await asyncio.create_task(closes()) is None
    assert telemetry.span_counter.started == telemetry.span_counter.ended


# --- Sampling --------------------------------------------------------------------------------


async def test_an_operation_that_nobody_samples_costs_one_span() -> None:
    sampler = Curious()
    telemetry = Telemetry(sampler=sampler)
    await post(plain_view(telemetry), BROKEN)

    assert [name for name, *_ in sampler.shown] == [OPERATION]
    assert recorded(telemetry) == []
    assert requests(telemetry) == {request("query", APP_ERROR): 1}
    telemetry.shutdown()


async def test_samplers_are_shown_the_hash_of_the_document() -> None:
    sampler = Curious()
    telemetry = Telemetry(sampler=sampler)
    await post(plain_view(telemetry), HELLO)

    assert sampler.shown == [
        (OPERATION, SpanKind.SERVER, {"graphql.document.hash": hashed(HELLO)}, [])
    ]
    telemetry.shutdown()


async def test_an_operation_over_a_websocket_that_nobody_samples_costs_one_span() -> None:
    sampler = Curious()
    telemetry = Telemetry(sampler=sampler)
    view = instrumented(telemetry)(schema=make_schema(OTelExtension))
    async with hosting(view) as host:
        client = await host.acknowledged()
        client.json(subscribe(client, "a", HELLO))
        await client.message("complete")
        await part(client)

    assert [name for name, *_ in sampler.shown] == [CONNECTION, INIT, OPERATION]
    assert requests(telemetry) == {request("query"): 1}
    telemetry.shutdown()


HOOKS = ("on_operation", "on_parse", "on_validate", "on_execute")


ONE_TICK = "subscription { ticks(to: 1) }"
FRAGMENT_FIRST = "fragment Greeting on Query { hello } query Hello { ...Greeting }"


@pytest.mark.parametrize(
    ("document", "sampler", "phase_spans", "hooks"),
    [
        (HELLO, ALWAYS_OFF, True, set()),
        (ONE_TICK, ALWAYS_OFF, True, set()),
        (FRAGMENT_FIRST, ALWAYS_OFF, True, {"on_validate"}),
        (HELLO, ALWAYS_ON, False, set()),
        (FRAGMENT_FIRST, ALWAYS_ON, False, {"on_validate"}),
        (ONE_TICK, ALWAYS_ON, True, set()),
        (HELLO, ALWAYS_ON, True, {"on_parse", "on_validate", "on_execute"}),
        (FRAGMENT_FIRST, ALWAYS_ON, True, {"on_parse", "on_validate", "on_execute"}),
    ],
    ids=[
        "a query, not sampled",
        "a subscription, not sampled",
        "not sampled, and its type is not to be seen",
        "a query, sampled, without phases",
        "sampled, without phases, and its type is not to be seen",
        "a subscription, sampled",
        "a query, sampled",
        "sampled, and its type is not to be seen",
    ],
)
async def test_an_operation_over_a_websocket_has_the_hooks_that_it_needs(
    document: str,
    sampler: Sampler,
    phase_spans: bool,  # noqa: FBT001  # of a row
    hooks: set[str],
) -> None:
    telemetry = Telemetry(sampler=sampler)
    instances: list[SchemaExtension] = []

    class Hooked(OTelExtension):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            instances.append(self)

    view = instrumented(telemetry, phase_spans=phase_spans)(schema=make_schema(Hooked))
    async with hosting(view) as host:
        client = await host.acknowledged()
        client.json(subscribe(client, "a", document))
        await client.message("complete")
        await part(client)

    [instance] = instances
    assert isinstance(instance, Hooked)
    own = {name: getattr(type(instance), name) for name in HOOKS}
    assert {n for n, hook in own.items() if hook is not getattr(SchemaExtension, n)} == hooks
    telemetry.shutdown()


class Rewriting(SchemaExtension):
    """Executes another document than that of the client."""

    def on_parse(self) -> Iterator[None]:
        self.execution_context.graphql_document = parse(HELLO)
        yield


async def played(telemetry: Telemetry, document: str, *extensions: Any, **payload: Any) -> Any:
    """The spans of an operation over a WebSocket, and of its phases."""
    view = instrumented(telemetry)(schema=make_schema(OTelExtension, *extensions))
    async with hosting(view) as host:
        client = await host.acknowledged()
        client.json(subscribe(client, "a", document, **payload))
        await client.message("complete")
        await part(client)
    return recorded(telemetry)[2:]


@SINCE_STREAMS
async def test_a_query_that_begins_like_a_subscription_has_no_phases_and_all_the_rest(
    telemetry: Telemetry,
) -> None:
    attributes: dict[str, Any] = {
        "graphql.operation.type": "query",
        "graphql.operation.name": "Hello",
    }
    events = [*results_of(TRANSPORT, 1), sent("complete")]
    whole = operation(ONE_TICK, "completed", known=False, results=1, events=events, **attributes)
    assert await played(telemetry, ONE_TICK, Rewriting) == [{**whole, "name": "query"}]
    assert requests(telemetry) == {request("query"): 1}
    assert telemetry.metrics()["graphql.server.subscription.active"] == {frozenset(): 0}


@pytest.mark.parametrize("name", ["Tick", "Hello"])
async def test_of_several_operations_a_subscription_has_no_phases_and_a_query_has(
    name: str, telemetry: Telemetry
) -> None:
    tick = ONE_TICK.replace("{", "Tick {", 1)
    spans = await played(telemetry, f"{HELLO} {tick}", operationName=name)
    assert [(each["name"], each["parent"]) for each in spans] == (
        [("subscription", None)]
        if name == "Tick"
        else [("query", None), *((phase, "query") for phase in THREE_PHASES)]
    )


# --- Under the mixin, over HTTP --------------------------------------------------------------


@pytest.fixture
def other() -> Iterator[Telemetry]:
    """Where nothing must arrive."""
    other = Telemetry()
    yield other
    other.shutdown()


async def test_under_the_mixin_the_configuration_of_the_view_wins(
    telemetry: Telemetry, other: Telemetry
) -> None:
    schema = make_schema(extension(other, phase_spans=True, capture_document=True))
    view = instrumented(telemetry, phase_spans=False)(schema=schema)
    async with hosting(view) as host:
        await host.post({"query": HELLO})
        client = await host.acknowledged()
        client.json(subscribe(client, "a", HELLO))
        await client.message("complete")
        await part(client)

    assert recorded(telemetry, "query", EXECUTION) == [
        executed(HELLO, name="Hello"),
        operation(
            HELLO,
            "completed",
            name="Hello",
            results=1,
            events=[*results_of(TRANSPORT, 1), sent("complete")],
        ),
    ]
    assert recorded(other) == []
    assert requests(other) == {}


@pytest.mark.parametrize(
    ("remote", "parent", "links"),
    [("parent", REMOTE, []), ("link", None, [REMOTE]), ("ignore", None, [])],
)
async def test_under_the_mixin_the_headers_of_a_request_bring_a_context(
    remote: str, parent: str | None, links: list[str], telemetry: Telemetry
) -> None:
    view = instrumented(telemetry, remote_context=remote)(schema=make_schema(OTelExtension))
    async with hosting(view) as host:
        await host.post({"query": HELLO}, TRACEPARENT)

    assert recorded(telemetry) == [
        executed(HELLO, name="Hello", parent=parent, links=links),
        *phases("query", *THREE_PHASES),
    ]


async def test_under_the_mixin_each_operation_of_a_batch_has_the_same_parent(
    telemetry: Telemetry,
) -> None:
    schema = strawberry.Schema(
        query=Nesting,
        extensions=[OTelExtension],
        config=StrawberryConfig(batching_config={"max_operations": 2}),
    )
    async with hosting(instrumented(telemetry)(schema=schema)) as host:
        await host.post([{"query": "query { answer }"}] * 2, TRACEPARENT)

    one = executed("query { answer }", parent=REMOTE)
    assert recorded(telemetry, "query") == [one, one]


@pytest.mark.parametrize("kind", STREAMS)
async def test_under_the_mixin_a_stream_has_the_context_of_its_request(
    kind: str, telemetry: Telemetry
) -> None:
    view = instrumented(telemetry)(
        schema=make_schema(OTelExtension), subscription_protocols=streams(kind)
    )
    headers = {"Accept": STREAMS[kind], **TRACEPARENT}
    body = {"query": TICKS, "variables": {"to": 2}}
    async with (
        hosting(view) as host,
        host.session.post(host.url, json=body, headers=headers) as response,
    ):
        assert (await response.text()).count('"ticks":') == 2

    assert recorded(telemetry) == [
        executed(TICKS, name="Ticks", parent=REMOTE),
    ]


async def test_an_extension_without_the_mixin_sees_no_headers(telemetry: Telemetry) -> None:
    async with hosting(plain_view(telemetry)) as host:
        await host.post({"query": HELLO}, TRACEPARENT)

    assert recorded(telemetry, "query") == [standalone(HELLO, name="Hello")]
