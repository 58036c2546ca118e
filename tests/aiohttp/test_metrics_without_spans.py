"""Who switches the library's spans off keeps its metrics, its log, and the application's traces.

A tracer that is off hands the span context of the parent on. What it hands back is no span of the
library's, and must hide nothing from the application: its own current span, its own spans below.
"""

from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
import strawberry
from aiohttp import web
from opentelemetry import trace
from opentelemetry.context import attach
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased

from strawberry_ws_otel import OTelConfig, OTelExtension, OTelViewMixin, connection_span
from tests.support.expected import recorded
from tests.support.frames import Frame
from tests.support.hosting import Handler, hosting, part
from tests.support.log import LogKeeper
from tests.support.scenarios.model import BOTH
from tests.support.scenarios.steps import TRANSPORT, subscribe
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import View, instrumented

SUBSCRIPTION = "subscription Work { work }"
QUERY = "query Work { work }"
CARRIED = {"traceparent": f"00-{0xA:032x}-{0xA1:016x}-01"}
MULTIPART = {"Accept": "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json"}

Make = Callable[[Telemetry], trace.TracerProvider]


def no_op(_telemetry: Telemetry) -> trace.TracerProvider:
    return trace.NoOpTracerProvider()


def switched_off(telemetry: Telemetry) -> trace.TracerProvider:
    """The SDK's provider, whose configurator switches off the tracer of the library."""
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    if not hasattr(telemetry.tracer_provider, "_set_tracer_configurator"):
        pytest.skip("this SDK has no configurator for tracers")
    telemetry.tracer_provider._set_tracer_configurator(
        tracer_configurator=lambda scope: sdk._TracerConfig(
            is_enabled=scope.name != "strawberry_ws_otel"
        )
    )
    return telemetry.tracer_provider


class HandingBack(trace.Tracer):
    """Hands back the current span itself: whoever ends or renames it does so to the caller's."""

    def start_span(self, name: str, context: Any = None, *_: Any, **__: Any) -> trace.Span:
        return trace.get_current_span(context)

    def start_as_current_span(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


class HandingBackProvider(trace.TracerProvider):
    def get_tracer(self, *_: Any, **__: Any) -> trace.Tracer:
        return HandingBack()


def handing_back(_telemetry: Telemetry) -> trace.TracerProvider:
    return HandingBackProvider()


OFF: dict[str, Make] = {
    "no-op": no_op,
    "switched off": switched_off,
    "handing back": handing_back,
}


class Application:
    """Works in spans of its own, and keeps what it finds to be current."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.tracer = telemetry.tracer_provider.get_tracer("application")
        self.current: list[tuple[str, str | None]] = []

    def work(self, place: str) -> str:
        span = trace.get_current_span()
        self.current.append((place, getattr(span, "name", None)))
        span.set_attribute(place, "here")
        connection_span().set_attribute("connection", place)
        with self.tracer.start_as_current_span(f"db of {place}"):
            return place

    @property
    def server_span(self) -> Any:
        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            with self.tracer.start_as_current_span("GET"):
                return await handler(request)

        return middleware

    @property
    def schema(self) -> strawberry.Schema:
        return self.schema_of(OTelExtension)

    def schema_of(self, *extensions: Any) -> strawberry.Schema:
        application = self

        @strawberry.type
        class Query:
            @strawberry.field
            async def work(self) -> str:
                return application.work("resolver")

        @strawberry.type
        class Subscription:
            @strawberry.subscription
            async def work(self) -> AsyncGenerator[str, None]:
                yield application.work("source")
                yield application.work("source")

        return strawberry.Schema(
            query=Query, subscription=Subscription, extensions=list(extensions)
        )

    @property
    def view(self) -> type[View]:
        application = self

        class Working(View):
            async def get_context(self, *arguments: Any, **keywords: Any) -> Any:
                application.work("get_context")
                return await super().get_context(*arguments, **keywords)

            async def on_ws_connect(self, context: Any) -> Any:
                application.work("on_ws_connect")
                return await super().on_ws_connect(context)

        return Working


def bare(application: Application) -> View:
    return application.view(
        schema=application.schema_of(),
        keep_alive=False,
        subscription_protocols=[*BOTH, "multipart-subscription"],
    )


def off(application: Application, telemetry: Telemetry, make: Make, **options: Any) -> View:
    """The view under the mixin, whose spans are off and whose metrics are the telemetry's."""

    class Off(OTelViewMixin, application.view):  # type: ignore[name-defined,misc]  # a property
        otel_config = OTelConfig(
            tracer_provider=make(telemetry), meter_provider=telemetry.meter_provider, **options
        )

    protocols = [*BOTH, "multipart-subscription"]
    return Off(schema=application.schema, keep_alive=False, subscription_protocols=protocols)


async def converse(
    view: View, application: Application, protocol: str, **carriers: Any
) -> list[Frame]:
    """Two operations over one connection, below the span of the server."""
    async with hosting(view, application.server_span) as host:
        client = await host.acknowledged(protocol, **carriers)
        extensions = carriers.get("payload")
        for document in [QUERY, SUBSCRIPTION] if protocol == TRANSPORT else [SUBSCRIPTION]:
            client.json(subscribe(client, "a", document, extensions=extensions))
            await client.message("complete")
        await part(client)
    return client.frames


async def request(view: View, application: Application, **headers: str) -> list[Any]:
    """A query, and a stream."""
    async with hosting(view, application.server_span) as host:
        answer = await host.post({"query": QUERY}, headers)
        async with host.session.post(
            host.url, json={"query": SUBSCRIPTION}, headers={**headers, **MULTIPART}
        ) as response:
            return [answer, await response.text()]


def family(telemetry: Telemetry) -> list[Any]:
    """The application's spans: name, parent, attributes."""
    return [(each["name"], each["parent"], each["attributes"]) for each in recorded(telemetry)]


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("shape", ["linked", "nested"])
@pytest.mark.parametrize("make", OFF)
async def test_the_traces_of_the_application_are_whole_over_a_websocket(
    make: str, shape: str, protocol: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    twin = Telemetry()
    app, other = Application(telemetry), Application(twin)
    frames = await converse(bare(other), other, protocol)
    view = off(app, telemetry, OFF[make], trace_shape=shape)
    assert await converse(view, app, protocol) == frames

    assert app.current == other.current
    assert {name for _, name in app.current} == {"GET"}
    spans, server = family(telemetry), telemetry.spans("GET")
    assert spans == family(twin)
    assert {parent for _, parent, _ in spans} == {None, "GET"}
    assert len(server) == 1
    assert library_log.records == []
    twin.shutdown()


@pytest.mark.parametrize("make", OFF)
async def test_the_traces_of_the_application_are_whole_over_http(
    make: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    twin = Telemetry()
    app, other = Application(telemetry), Application(twin)
    answers = await request(bare(other), other)
    assert await request(off(app, telemetry, OFF[make]), app) == answers

    assert app.current == other.current
    assert {name for _, name in app.current} == {"GET"}
    assert family(telemetry) == family(twin)
    assert library_log.records == []
    twin.shutdown()


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("remote", ["parent", "link"])
async def test_what_a_client_carries_makes_no_difference_to_them(
    remote: str, protocol: str, telemetry: Telemetry
) -> None:
    """Nobody but the library reads it, and its spans are off."""
    twin = Telemetry()
    app, other = Application(telemetry), Application(twin)
    carriers = {"headers": CARRIED, "payload": CARRIED}
    await converse(bare(other), other, protocol, **carriers)
    await converse(off(app, telemetry, no_op, remote_context=remote), app, protocol, **carriers)
    assert family(telemetry) == family(twin)
    twin.shutdown()


@pytest.mark.parametrize("protocol", BOTH)
async def test_a_span_that_was_left_current_on_connect_stays_current(
    protocol: str, telemetry: Telemetry
) -> None:
    twin, left = Telemetry(), list[trace.Span]()

    def leaving(application: Application, base: type[View]) -> type[View]:
        class Leaving(base):  # type: ignore[valid-type,misc]  # whichever it is
            async def on_ws_connect(self, context: Any) -> Any:
                login = application.tracer.start_span("login")
                attach(trace.set_span_in_context(login))
                left.append(login)
                return await super().on_ws_connect(context)

        return Leaving

    app, other = Application(telemetry), Application(twin)

    class Off(OTelViewMixin, leaving(app, app.view)):  # type: ignore[misc]  # a class from a call
        otel_config = OTelConfig(
            tracer_provider=no_op(telemetry), meter_provider=telemetry.meter_provider
        )

    await converse(Off(schema=app.schema, keep_alive=False), app, protocol)
    bare_class = leaving(other, other.view)
    await converse(bare_class(schema=other.schema_of(), keep_alive=False), other, protocol)
    for login in left:
        login.end()

    assert family(telemetry) == family(twin)
    assert {each["parent"] for each in recorded(telemetry, "db of source")} == {"login"}
    twin.shutdown()


# --- Metrics and the log go on ---------------------------------------------------------------


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("make", OFF)
async def test_the_metrics_are_those_with_spans(
    make: str, protocol: str, telemetry: Telemetry
) -> None:
    twin = Telemetry()
    app, other = Application(telemetry), Application(twin)
    view = instrumented(twin, other.view)
    protocols = [*BOTH, "multipart-subscription"]
    with_spans = view(schema=other.schema, keep_alive=False, subscription_protocols=protocols)
    without = off(app, telemetry, OFF[make])
    assert await converse(without, app, protocol) == await converse(with_spans, other, protocol)
    assert await request(without, app) == await request(with_spans, other)

    counts = telemetry.metrics()
    assert counts == twin.metrics()
    assert telemetry.total("websocket.server.closes", websocket__close__outcome="normal") == 1
    twin.shutdown()


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("make", OFF)
async def test_an_abnormal_close_is_logged_and_counted(
    make: str, protocol: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    app = Application(telemetry)
    async with hosting(off(app, telemetry, OFF[make]), app.server_span) as host:
        client = await host.acknowledged(protocol)
        client.close(4321)
        await client.until_end()

    [record] = library_log.records
    assert record.levelname == "WARNING"
    assert vars(record)["websocket.close.outcome"] == "application_code"
    assert vars(record)["websocket.close.code"] == 4321
    assert telemetry.total("websocket.server.active_connections") == 0
    outcome = {"websocket.close.outcome": "application_code"}
    assert telemetry.total("websocket.server.closes", outcome) == 1


async def test_the_current_span_is_the_applications_to_end_and_to_rename(
    telemetry: Telemetry,
) -> None:
    """Where the library has no span it stands before nobody's."""
    app = Application(telemetry)

    class Renaming(app.view):  # type: ignore[name-defined,misc]  # a property
        async def on_ws_connect(self, context: Any) -> Any:
            trace.get_current_span().update_name("GET /graphql")
            return await super().on_ws_connect(context)

    class Off(OTelViewMixin, Renaming):
        otel_config = OTelConfig(
            tracer_provider=no_op(telemetry), meter_provider=telemetry.meter_provider
        )

    await converse(Off(schema=app.schema, keep_alive=False), app, TRANSPORT)
    [server] = telemetry.spans("GET /graphql")
    assert attributes_of(server)["resolver"] == "here"


# --- Not sampled is not off ------------------------------------------------------------------


@pytest.mark.parametrize("protocol", BOTH)
async def test_a_span_that_is_not_sampled_has_an_id_and_is_current(protocol: str) -> None:
    """Its children are not sampled either, as below any span that is not."""
    telemetry = Telemetry(sampler=ParentBased(ALWAYS_ON))
    app = Application(telemetry)
    sdk = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    await converse(off(app, telemetry, lambda _: sdk), app, protocol)

    assert [name for place, name in app.current if place == "source"] == [None, None]
    assert telemetry.spans("db of source") == []
    telemetry.shutdown()
