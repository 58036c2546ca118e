"""Where the application has suppressed instrumentation, no span and no log record begins.

What has begun goes on to its end, and metrics go on, so that gauges return to 0.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from contextvars import Token
from typing import Any

import pytest
import strawberry
from aiohttp import web
from opentelemetry import trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context, attach, detach, set_value
from opentelemetry.instrumentation.utils import suppress_instrumentation
from strawberry.extensions import SchemaExtension

from strawberry_ws_otel import OTelExtension
from tests.support.applications.provider_conversations import bare, recording, talk, usual, view_of
from tests.support.clock import stop_clock
from tests.support.expected import CONNECTION, EXECUTION, INIT, PARSING, VALIDATION, recorded
from tests.support.frames import Frame
from tests.support.hosting import Handler, Host, hosting, part
from tests.support.log import LogKeeper
from tests.support.scenarios.model import BOTH
from tests.support.scenarios.steps import SUBSCRIBE, TRANSPORT, subscribe
from tests.support.schema import HELLO, TICKS, make_schema
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import View, extension, instrumented


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


@contextmanager
def attached(key: str) -> Iterator[None]:
    token = attach(set_value(key, True))  # noqa: FBT003  # a value in the context
    try:
        yield
    finally:
        detach(token)


def by_key() -> Any:
    """As exporters do, with the key of the API alone."""
    return attached(_SUPPRESS_INSTRUMENTATION_KEY)


def by_plain_key() -> Any:
    """As libraries do that know the key of old."""
    return attached("suppress_instrumentation")


SUPPRESSING = {"helper": suppress_instrumentation, "key": by_key, "plain key": by_plain_key}


def suppressing(how: Any) -> Any:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        with how():
            return await handler(request)

    return middleware


# --- All of it -------------------------------------------------------------------------------


@pytest.mark.parametrize("how", SUPPRESSING)
@pytest.mark.parametrize("shape", ["linked", "nested"])
async def test_around_the_view_nothing_begins_and_everything_is_counted(
    shape: str, how: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    view = recording(telemetry, trace_shape=shape)
    heard = await talk(view, suppressing(SUPPRESSING[how]))
    assert heard == await talk(bare())

    assert recorded(telemetry) == []
    assert library_log.records == []
    _, counts = await usual()
    assert telemetry.metrics() == counts


@pytest.mark.parametrize("protocol", BOTH)
async def test_below_a_suppressed_view_the_span_of_the_server_stays_current(
    protocol: str, telemetry: Telemetry
) -> None:
    """The library has no span to put in its place."""
    tracer = telemetry.tracer_provider.get_tracer("application")

    @web.middleware
    async def serving(request: web.Request, handler: Handler) -> web.StreamResponse:
        with tracer.start_as_current_span("GET"):
            return await handler(request)

    current: list[Any] = []

    class Looking(View):
        async def on_ws_connect(self, context: Any) -> Any:
            current.append(getattr(trace.get_current_span(), "name", None))
            return await super().on_ws_connect(context)

    view = instrumented(telemetry, Looking)(schema=make_schema(OTelExtension), keep_alive=False)
    async with hosting(view, serving, suppressing(suppress_instrumentation)) as host:
        await part(await host.acknowledged(protocol))
    assert current == ["GET"]
    assert [span.name for span in telemetry.spans()] == ["GET"]


async def test_a_refused_handshake_below_it_is_counted_and_not_recorded(
    telemetry: Telemetry,
) -> None:
    class Refusing(View):
        async def get_root_value(self, _request: web.Request) -> Any:
            raise web.HTTPForbidden

    view = view_of(telemetry.tracer_provider, telemetry.meter_provider, Refusing)
    async with hosting(view, suppressing(suppress_instrumentation)) as host:
        client = await host.connect()
        assert client.status == 403
    assert recorded(telemetry) == []
    assert telemetry.total("websocket.server.closes") == 1
    assert telemetry.total("websocket.server.active_connections") == 0


# --- Parts of it -----------------------------------------------------------------------------


async def converse(host: Host, protocol: str, *documents: str) -> list[Frame]:
    client = await host.acknowledged(protocol)
    for number, document in enumerate(documents):
        client.json(subscribe(client, f"{number}", document, variables={"to": 2}))
        await client.message("complete")
    await part(client)
    return client.frames


async def play_both(
    base: type[View], protocol: str, telemetry: Telemetry, *documents: str
) -> tuple[list[Any], list[Any]]:
    """What is recorded of a conversation with this view, and with one that suppresses nothing."""
    plain = Telemetry()
    heard = []
    for each, class_ in ((telemetry, base), (plain, View)):
        view = instrumented(each, class_)(schema=make_schema(OTelExtension), keep_alive=False)
        async with hosting(view) as host:
            heard.append(await converse(host, protocol, *documents))
    assert heard[0] == heard[1]
    assert telemetry.metrics() == plain.metrics()
    found = recorded(telemetry), recorded(plain)
    plain.shutdown()
    return found


@pytest.mark.parametrize("protocol", BOTH)
async def test_what_has_begun_goes_on_while_the_application_suppresses(
    protocol: str, telemetry: Telemetry
) -> None:
    """Around its login, which the library's own span had begun to cover."""

    class Login(View):
        async def on_ws_connect(self, context: Any) -> Any:
            with suppress_instrumentation():
                return await super().on_ws_connect(context)

    found, expected = await play_both(Login, protocol, telemetry, TICKS)
    assert found == expected


@pytest.mark.parametrize("protocol", BOTH)
async def test_what_is_left_suppressed_on_connect_keeps_operations_from_the_trace(
    protocol: str, telemetry: Telemetry
) -> None:
    class Leaving(View):
        async def on_ws_connect(self, context: Any) -> Any:
            attach(set_value("suppress_instrumentation", True))  # noqa: FBT003  # a value
            return await super().on_ws_connect(context)

    found, expected = await play_both(Leaving, protocol, telemetry, TICKS, TICKS)
    [connection, init] = found
    assert init == expected[1]
    assert connection["links"] == [INIT]
    assert connection["attributes"] == expected[0]["attributes"]
    assert connection["attributes"]["graphql.ws.operation.count"] == 2


class Polled(View):
    """Is polled for its health over a socket, and keeps that out of its traces."""

    token: Token[Context] | None = None

    def decode_json(self, data: str | bytes) -> object:
        if self.token is not None:
            detach(self.token)
            self.token = None
        message: Any = super().decode_json(data)
        if message["type"] in SUBSCRIBE.values() and message["id"] == "1":
            self.token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))  # noqa: FBT003
        return message


def ids(telemetry: Telemetry) -> list[Any]:
    """The client's ids of the operations that are recorded."""
    spans = telemetry.spans("subscription", "query", "GraphQL Operation")
    return [attributes_of(span)["graphql.ws.operation.id"] for span in spans]


@pytest.mark.parametrize("protocol", BOTH)
async def test_one_operation_may_be_kept_from_the_trace(
    protocol: str, telemetry: Telemetry
) -> None:
    await play_both(Polled, protocol, telemetry, TICKS, TICKS, TICKS)
    assert ids(telemetry) == ["0", "2"]
    [connection] = recorded(telemetry, CONNECTION)
    assert connection["links"] == [INIT, "subscription", "subscription 2"]
    assert connection["attributes"]["graphql.ws.operation.count"] == 3


def quiet(base: Any) -> Any:
    """A handler that suppresses while it begins one operation."""

    class Quiet(base):  # type: ignore[misc]  # whichever it is
        async def handle_message(self, message: Any) -> None:
            if message["type"] in SUBSCRIBE.values() and message["id"] == "1":
                with suppress_instrumentation():
                    await super().handle_message(message)
            else:
                await super().handle_message(message)

    return Quiet


async def test_an_operation_whose_handler_suppresses_has_begun_and_has_no_phases(
    telemetry: Telemetry,
) -> None:
    class Quietly(View):
        graphql_transport_ws_handler_class = quiet(View.graphql_transport_ws_handler_class)  # type: ignore[misc]

    await play_both(Quietly, TRANSPORT, telemetry, HELLO, HELLO, HELLO)
    assert ids(telemetry) == ["0", "1", "2"]
    phases = [each["parent"] for each in recorded(telemetry, PARSING, VALIDATION, EXECUTION)]
    assert phases == ["query"] * 3 + ["query 3"] * 3


class Around(SchemaExtension):
    """Suppresses during some phases of an operation."""

    def on_parse(self) -> Iterator[None]:
        with suppress_instrumentation():
            yield


class Throughout(SchemaExtension):
    def on_operation(self) -> Iterator[None]:
        with suppress_instrumentation():
            yield


@pytest.mark.parametrize("transport", [TRANSPORT, "http"])
async def test_a_phase_that_is_suppressed_has_no_span(transport: str, telemetry: Telemetry) -> None:
    view = instrumented(telemetry)(schema=make_schema(Around, OTelExtension), keep_alive=False)
    async with hosting(view) as host:
        if transport == "http":
            await host.post({"query": HELLO})
        else:
            await converse(host, transport, HELLO)
    names = [span.name for span in telemetry.spans() if span.name not in {CONNECTION, INIT}]
    assert names == ["query", VALIDATION, EXECUTION]


@pytest.mark.parametrize("alone", [False, True], ids=["mixin", "extension alone"])
async def test_a_request_that_an_extension_suppresses_is_counted_and_not_recorded(
    alone: bool,  # noqa: FBT001  # a row of a table
    telemetry: Telemetry,
) -> None:
    base = View if alone else instrumented(telemetry)
    ours = extension(telemetry) if alone else OTelExtension
    async with hosting(base(schema=make_schema(Throughout, ours))) as host:
        assert await host.post({"query": HELLO}) == (200, {"data": {"hello": "world"}})
    assert recorded(telemetry) == []
    assert telemetry.total("graphql.server.request.duration") == 1


# --- In a resolver ---------------------------------------------------------------------------


@strawberry.type
class Query:
    @strawberry.field
    async def inner(self) -> str:
        return "inner"

    @strawberry.field
    async def outer(self, info: strawberry.Info, *, quietly: bool) -> str:
        """Ask the same schema, as one does for a permission or a stitched field."""
        schema: Any = info.context["schema"]
        if not quietly:
            await schema.execute("query Inner { inner }")
            return "outer"
        with suppress_instrumentation():
            await schema.execute("query Inner { inner }")
        return "outer"


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def quiet(self) -> AsyncGenerator[int, None]:
        with suppress_instrumentation():
            yield 1
            yield 2


class WithSchema(View):
    async def get_context(self, *arguments: Any, **keywords: Any) -> Any:
        context: Any = await super().get_context(*arguments, **keywords)
        return {**context, "schema": self.schema}


def asking(telemetry: Telemetry) -> View:
    schema = strawberry.Schema(query=Query, subscription=Subscription, extensions=[OTelExtension])
    return instrumented(telemetry, WithSchema)(schema=schema, keep_alive=False)


@pytest.mark.parametrize("transport", [TRANSPORT, "http"])
@pytest.mark.parametrize("quietly", [False, True])
async def test_an_operation_that_a_resolver_runs_is_recorded_unless_it_suppresses(
    quietly: bool,  # noqa: FBT001  # a row of a table
    transport: str,
    telemetry: Telemetry,
) -> None:
    document = f"query Outer {{ outer(quietly: {str(quietly).lower()}) }}"
    async with hosting(asking(telemetry)) as host:
        if transport == "http":
            await host.post({"query": document})
        else:
            await converse(host, transport, document)
    names = [attributes_of(span).get("graphql.operation.name") for span in telemetry.spans("query")]
    assert names == (["Outer"] if quietly else ["Outer", "Inner"])
    assert telemetry.total("graphql.server.request.duration") == 2


@pytest.mark.parametrize("protocol", BOTH)
async def test_the_results_of_a_source_that_suppresses_are_events_and_counted(
    protocol: str, telemetry: Telemetry
) -> None:
    async with hosting(asking(telemetry)) as host:
        await converse(host, protocol, "subscription Quiet { quiet }")
    [subscription] = recorded(telemetry, "subscription")
    assert subscription["attributes"]["graphql.ws.results"] == 2
    assert len(subscription["events"]) == 4
    assert telemetry.total("graphql.server.subscription.event_count") == 2


# --- The log ---------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("suppressed", [False, True])
async def test_an_abnormal_close_below_it_is_counted_and_not_logged(
    suppressed: bool,  # noqa: FBT001  # a row of a table
    protocol: str,
    telemetry: Telemetry,
    library_log: LogKeeper,
) -> None:
    middlewares = [suppressing(suppress_instrumentation)] if suppressed else []
    view = view_of(telemetry.tracer_provider, telemetry.meter_provider)
    async with hosting(view, *middlewares) as host:
        client = await host.acknowledged(protocol)
        client.reset()
        await host.served()
    levels = [record.levelname for record in library_log.records]
    assert levels == ([] if suppressed else ["WARNING"])
    lost = {"websocket.close.outcome": "connection_lost"}
    assert telemetry.total("websocket.server.closes", lost) == 1
    assert telemetry.total("websocket.server.active_connections") == 0
