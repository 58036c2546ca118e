"""What ended a task, whoever stands before or behind our extension, and a log that is bounded."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import strawberry
from aiohttp import web
from opentelemetry.sdk.metrics import Meter, MeterProvider
from strawberry.aiohttp.views import GraphQLView
from strawberry.exceptions import ConnectionRejectionError
from strawberry.extensions import MaskErrors, SchemaExtension

from strawberry_ws_otel import OTelConfig, OTelViewMixin
from tests.support.applications.side_by_side import HANDLER, HANDLER_LEGACY, alike, assert_ended
from tests.support.clock import Clock
from tests.support.expected import (
    GREETING,
    NORMAL,
    connection,
    init,
    operation,
    recorded,
    sent,
)
from tests.support.hosting import Host, hosting, part
from tests.support.log import LogKeeper
from tests.support.scenarios.model import by_server
from tests.support.scenarios.steps import LEGACY, TRANSPORT, subscribe
from tests.support.schema import (
    BROKEN,
    FAILING,
    FOREVER,
    HELLO,
    INVALID,
    PARTIAL,
    UNPARSABLE,
    AppError,
    Mutation,
    Query,
    Subscription,
    make_schema,
)
from tests.support.telemetry import Telemetry
from tests.support.views import View, config, extension, instrumented

APP_ERROR = "tests.support.schema.AppError"


# --- The death of a task ---------------------------------------------------------------------


class Failing(strawberry.Schema):
    """Serves no subscription."""

    async def subscribe(self, *_args: Any, **_kwargs: Any) -> Any:
        raise AppError

    async def stream(self, *_args: Any, **_kwargs: Any) -> Any:
        raise AppError


def failing(*extensions: Any) -> strawberry.Schema:
    return Failing(query=Query, subscription=Subscription, extensions=list(extensions))


class Speechless(HANDLER_LEGACY):  # type: ignore[misc]  # a class in a variable
    async def send_data_message(self, *_args: Any) -> None:
        raise AppError


class Legacy(View):
    graphql_ws_handler_class = Speechless


class Clumsy(HANDLER):  # type: ignore[misc]  # a class in a variable
    async def run_operation(self, *_args: Any) -> None:
        raise AppError


class ClumsyLegacy(HANDLER_LEGACY):  # type: ignore[misc]  # a class in a variable
    async def handle_async_results(self, *_args: Any) -> None:
        raise AppError


class Both(View):
    graphql_transport_ws_handler_class = Clumsy
    graphql_ws_handler_class = ClumsyLegacy


@pytest.mark.parametrize(
    ("protocol", "view", "schema", "parsed", "goodbye"),
    [
        (LEGACY, View, failing, False, False),
        (TRANSPORT, View, failing, False, True),
        (LEGACY, Legacy, make_schema, True, False),
        (LEGACY, Both, make_schema, False, False),
        (TRANSPORT, Both, make_schema, False, False),
    ],
    ids=["a schema, in legacy", "a schema", "a result", "a task, in legacy", "a task"],
)
async def test_an_operation_whose_task_died_says_of_what(  # noqa: PLR0913, PLR0917
    protocol: str,
    view: type[View],
    schema: Any,
    parsed: bool,  # noqa: FBT001
    goodbye: bool,  # noqa: FBT001
    clock: Clock,
    telemetry: Telemetry,
    library_log: LogKeeper,
) -> None:
    async def talk(host: Host) -> None:
        client = await host.acknowledged(protocol)
        client.json(subscribe(client, "a", FOREVER))
        # Another connection takes more steps of the loop than a task needs to die.
        await part(await host.acknowledged(protocol))
        await part(client)

    await alike(telemetry, view, talk, schema=schema)
    name = "subscription" if parsed else "GraphQL Operation"
    [whole, _, one] = recorded(telemetry)[:3]
    assert whole["attributes"]["graphql.ws.operation.interrupted_count"] == 0
    assert [one] == [
        operation(
            FOREVER,
            "failed",
            protocol=protocol,
            name="Forever" if parsed else None,
            known=parsed,
            events=[sent("complete")] if goodbye else [],
            error=APP_ERROR,
        )
    ]
    assert one["name"] == name
    assert_ended(telemetry, library_log, NORMAL, NORMAL)


# --- The order of extensions -----------------------------------------------------------------


class Raising(SchemaExtension):
    """Fails when it has seen the execution."""

    def on_execute(self) -> Iterator[None]:
        yield
        raise AppError("too late")


class Refusing(SchemaExtension):
    """Fails before anything is done."""

    def on_operation(self) -> Iterator[None]:
        raise AppError("not now")
        yield


class RaisingAtTheEnd(SchemaExtension):
    """Fails when all is over."""

    def on_operation(self) -> Iterator[None]:
        yield
        raise AppError("much too late")


DOCUMENTS = {
    "a query": HELLO,
    "a subscription": "subscription Ticks { ticks(to: 2) }",
    "a broken field": BROKEN,
    "a broken field of results": PARTIAL,
    "a source that fails": FAILING,
    "no such field": INVALID,
    "no document": UNPARSABLE,
}


def schema_with(*extensions: Any) -> strawberry.Schema:
    return strawberry.Schema(
        query=Query, mutation=Mutation, subscription=Subscription, extensions=list(extensions)
    )


Ask = Callable[[Host, str], Any]


async def over_http(host: Host, document: str) -> Any:
    return await host.post({"query": document})


async def over_a_socket(host: Host, document: str) -> Any:
    client = await host.acknowledged()
    client.json(subscribe(client, "a", document))
    await until_answered(client)
    return client.frames


async def over_an_older_socket(host: Host, document: str) -> Any:
    client = await host.acknowledged(LEGACY)
    client.json(subscribe(client, "a", document))
    await until_answered(client)
    return client.frames


async def until_answered(client: Any) -> None:
    """Hear all of an operation, or that the host closes because of it; then leave."""
    while True:
        frame = await client.frame()
        if not frame.is_data or frame.json["type"] in {"complete", "error"}:
            break
    if not client.closed:
        client.close(1000)
    await client.until_end()


ASKED: list[tuple[Ask, str]] = [
    (over_http, "a query"),
    (over_http, "a broken field"),
    (over_http, "no such field"),
    (over_a_socket, "a query"),
    (over_a_socket, "a broken field"),
    (over_a_socket, "a source that fails"),
    (over_a_socket, "no document"),
    (over_an_older_socket, "a subscription"),
    (over_an_older_socket, "a broken field of results"),
    (over_an_older_socket, "no such field"),
]


async def asked(other: Any, ask: Ask, document: str, *, first: bool) -> list[Any]:
    """What is recorded, and counted, with ours listed first or last."""
    telemetry = Telemetry()
    ours = extension(telemetry)
    order = [ours, other] if first else [other, ours]
    async with hosting(
        instrumented(telemetry)(schema=schema_with(*order), keep_alive=False)
    ) as host:
        await ask(host, document)
        await host.served()
    spans = [each for each in recorded(telemetry) if each["kind"] == "SERVER"]
    metrics = telemetry.metrics()
    telemetry.shutdown()
    return [spans, metrics]


@pytest.mark.parametrize(("ask", "document"), ASKED)
@pytest.mark.parametrize("other", [MaskErrors, Raising])
async def test_what_is_recorded_of_errors_does_not_depend_on_the_order_of_extensions(
    other: Any, ask: Ask, document: str, clock: Clock
) -> None:
    source = DOCUMENTS[document]
    first = await asked(other, ask, source, first=True)
    assert await asked(other, ask, source, first=False) == first


@pytest.mark.parametrize("other", [RaisingAtTheEnd, Refusing])
@pytest.mark.parametrize("first", [True, False], ids=["ours first", "ours last"])
async def test_a_request_that_another_extension_fails_has_failed(
    first: bool,  # noqa: FBT001
    other: Any,
    clock: Clock,
) -> None:
    [[one], metrics] = await asked(other, over_http, HELLO, first=first)
    assert (one["status"], one["attributes"]["error.type"]) == ("ERROR", APP_ERROR)
    assert one["attributes"]["graphql.error.count"] == 1
    [labels] = metrics["graphql.server.request.duration"]
    assert dict(labels)["error.type"] == APP_ERROR


@pytest.mark.parametrize("other", [RaisingAtTheEnd, Refusing])
@pytest.mark.parametrize("first", [True, False], ids=["ours first", "ours last"])
async def test_an_operation_that_another_extension_fails_has_failed(
    first: bool,  # noqa: FBT001
    other: Any,
    clock: Clock,
) -> None:
    source = DOCUMENTS["a subscription"]
    [[whole, _, one], _] = await asked(other, over_a_socket, source, first=first)
    assert whole["attributes"]["websocket.close.outcome"] == "normal"
    assert (one["status"], one["attributes"]["error.type"]) == ("ERROR", APP_ERROR)
    assert one["attributes"]["graphql.ws.operation.end_reason"] == "failed"


# --- A view for every request ----------------------------------------------------------------


class Counting(MeterProvider):
    """Counts how often it is asked for a meter."""

    def __init__(self) -> None:
        super().__init__(shutdown_on_exit=False)
        self.meters = 0

    def get_meter(self, *args: Any, **kwargs: Any) -> Meter:
        self.meters += 1
        return super().get_meter(*args, **kwargs)  # type: ignore[return-value]  # the API's


def a_view_each(view: type[View]) -> Any:
    """A handler that makes a view for every request."""
    schema = make_schema()

    async def handler(request: web.Request) -> web.StreamResponse:
        return await view(schema=schema, keep_alive=False)(request)

    return handler


async def terminated(host: Host, times: int) -> None:
    for _ in range(times):
        client = await host.connect()
        client.close(4499)
        await client.until_end()
    await host.served()


async def test_the_log_is_bounded_for_views_that_serve_one_request_each(
    clock: Clock, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    async with hosting(a_view_each(instrumented(telemetry, setup_warnings=False))) as host:
        await terminated(host, 15)
        assert len(library_log.closes) == 10
        clock.passes(60.0)
        await terminated(host, 1)
    left_out = [vars(record).get("websocket.close.left_out") for record in library_log.closes]
    assert left_out == [None] * 10 + [5]
    assert telemetry.total("websocket.server.closes") == 16
    assert telemetry.total("websocket.server.active_connections") == 0
    assert len(recorded(telemetry)) == 16


async def test_views_of_one_class_share_their_instruments(telemetry: Telemetry) -> None:
    provider = Counting()

    class Own(OTelViewMixin, GraphQLView[Any, Any]):
        otel_config = OTelConfig(tracer_provider=telemetry.tracer_provider, meter_provider=provider)

    schema = make_schema()
    Own(schema=schema)
    asked = provider.meters
    for _ in range(5):
        Own(schema=schema)
    assert provider.meters == asked <= 1
    provider.shutdown()


async def test_a_view_that_is_given_a_configuration_of_its_own_records_by_that(
    clock: Clock, telemetry: Telemetry
) -> None:
    elsewhere = Telemetry()
    view: Any = instrumented(telemetry)(schema=make_schema(), keep_alive=False)
    other: Any = instrumented(telemetry)(schema=make_schema(), keep_alive=False)
    other.otel_config = config(elsewhere)
    for each in (view, other):
        async with hosting(each) as host:
            await terminated(host, 1)
    assert [len(recorded(each)) for each in (telemetry, elsewhere)] == [1, 1]
    elsewhere.shutdown()


# --- What nobody sees ------------------------------------------------------------------------


async def test_a_close_frame_that_nobody_read_did_not_come_first(
    clock: Clock, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    class Deciding(View):
        async def on_ws_connect(self, context: Any) -> Any:
            reader = context["response"]._reader
            while not reader._buffer:  # noqa: ASYNC110  # there is no event
                await asyncio.sleep(0)
            raise ConnectionRejectionError

    async def talk(host: Host) -> None:
        client = await host.connect()
        client.json({"type": "connection_init"})
        client.close(4499)

    await alike(telemetry, Deciding, talk)
    verdict = by_server("forbidden", 4403, "Forbidden", echo=4499)
    assert recorded(telemetry) == [
        connection(verdict=verdict, messages=(1, 0), acknowledged=False, events=GREETING[:1]),
        init(error="forbidden"),
    ]
    assert_ended(telemetry, library_log, verdict)


async def test_a_handshake_that_a_middleware_refused_never_reached_the_view(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    @web.middleware
    async def middleware(_request: web.Request, _handler: Any) -> web.Response:
        return web.Response(status=401)

    async def talk(host: Host) -> None:
        await host.connect()

    await alike(telemetry, View, talk, middleware)
    assert recorded(telemetry) == []
    assert_ended(telemetry, library_log)
