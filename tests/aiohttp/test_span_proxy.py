"""What processors, background tasks and users find where the current span is one of the library's.

It is a span of the SDK's for whoever asks, also when it has ended. It is the user's to name, and
not the user's to end.
"""

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import strawberry
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind

from strawberry_ws_otel import OTelExtension, connection_span
from tests.support.applications.context_changes import Act, After, doing, made, over_websocket
from tests.support.clock import stop_clock
from tests.support.expected import CONNECTION, INIT, OPERATION, recorded
from tests.support.frames import Frame
from tests.support.hosting import Host, hosting, part
from tests.support.log import LogKeeper
from tests.support.scenarios.model import BOTH
from tests.support.scenarios.steps import TRANSPORT, subscribe
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import View, instrumented

QUERY = "query Work { work }"
SUBSCRIPTION = "subscription Work { work }"
OPERATIONS = {TRANSPORT: [QUERY, SUBSCRIPTION]}


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


@dataclass
class Application:
    """Does something where a span of the library's is current, and says where it was."""

    do: Callable[[str], None]
    places: list[str] = field(default_factory=list)

    def at(self, place: str) -> str:
        self.places.append(place)
        self.do(place)
        return place

    @property
    def schema(self) -> strawberry.Schema:
        application = self

        @strawberry.type
        class Query:
            @strawberry.field
            async def work(self) -> str:
                return application.at("query")

        @strawberry.type
        class Subscription:
            @strawberry.subscription
            async def work(self) -> AsyncGenerator[str, None]:
                yield application.at("subscription")

        return strawberry.Schema(query=Query, subscription=Subscription, extensions=[OTelExtension])

    @property
    def view(self) -> type[View]:
        application = self

        class Working(View):
            async def on_ws_connect(self, context: Any) -> Any:
                application.at(INIT)
                return await super().on_ws_connect(context)

        return Working


async def converse(host: Host, protocol: str) -> list[Frame]:
    client = await host.acknowledged(protocol)
    for document in OPERATIONS.get(protocol, [SUBSCRIPTION]):
        client.json(subscribe(client, "a", document))
        await client.message("complete")
    await part(client)
    return client.frames


async def serve(application: Application, telemetry: Telemetry, protocol: str) -> list[Frame]:
    """Hold a conversation; over a WebSocket, or, for `http`, in one request."""
    view = instrumented(telemetry, application.view)(schema=application.schema, keep_alive=False)
    async with hosting(view) as host:
        if protocol == "http":
            await host.post({"query": QUERY})
            return []
        return await converse(host, protocol)


async def undisturbed(protocol: str) -> list[Any]:
    """What is recorded of a conversation whose application does nothing to spans."""
    telemetry = Telemetry()
    await serve(Application(lambda _: None), telemetry, protocol)
    spans = recorded(telemetry)
    telemetry.shutdown()
    return spans


EVERYWHERE = [*BOTH, "http"]


# --- For processors --------------------------------------------------------------------------


class Inheriting(SpanProcessor):
    """Lets a span have what its parent has, if that is a span that can be read."""

    def __init__(self) -> None:
        self.read: list[tuple[str, SpanKind, Any]] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        parent = trace.get_current_span(parent_context)
        if isinstance(parent, ReadableSpan):
            self.read.append((parent.name, parent.kind, parent.resource))
            if parent.attributes and "tenant" in parent.attributes:
                span.set_attribute("tenant", parent.attributes["tenant"])


@pytest.mark.parametrize("protocol", EVERYWHERE)
async def test_a_processor_reads_the_span_that_is_the_parent(
    protocol: str, telemetry: Telemetry
) -> None:
    inheriting = Inheriting()
    telemetry.tracer_provider.add_span_processor(inheriting)
    tracer = telemetry.tracer_provider.get_tracer("application")

    def work(_place: str) -> None:
        trace.get_current_span().set_attribute("tenant", "acme")
        with tracer.start_as_current_span("db"):
            pass

    application = Application(work)
    await serve(application, telemetry, protocol)
    found = [attributes_of(span) for span in telemetry.spans("db")]
    assert found == [{"tenant": "acme"}] * len(application.places)
    resource = telemetry.tracer_provider.resource
    for place in application.places:
        assert (place, SpanKind.SERVER, resource) in inheriting.read


@pytest.mark.parametrize("protocol", EVERYWHERE)
async def test_the_current_span_is_a_readable_one_of_the_api_and_the_same_all_along(
    protocol: str, telemetry: Telemetry
) -> None:
    kinds: list[tuple[bool, bool, bool, bool]] = []

    def look(_place: str) -> None:
        span = trace.get_current_span()
        kinds.append(
            (
                isinstance(span, trace.Span),
                isinstance(span, ReadableSpan),
                span.is_recording(),
                span is trace.get_current_span(),
            )
        )

    application = Application(look)
    await serve(application, telemetry, protocol)
    assert kinds == [(True, True, True, True)] * len(application.places)


async def test_a_span_that_is_not_sampled_is_none_that_can_be_read() -> None:
    telemetry = Telemetry(sampler=ALWAYS_OFF)
    kinds: set[tuple[bool, bool, bool]] = set()

    def look(_place: str) -> None:
        for span in (trace.get_current_span(), connection_span()):
            kinds.add(
                (isinstance(span, trace.Span), isinstance(span, ReadableSpan), span.is_recording())
            )

    await serve(Application(look), telemetry, TRANSPORT)
    assert kinds == {(True, False, False)}
    telemetry.shutdown()


async def test_the_span_of_the_connection_can_be_read(telemetry: Telemetry) -> None:
    read: set[Any] = set()

    def look(_place: str) -> None:
        span: Any = connection_span()
        if isinstance(span, ReadableSpan):
            attributes = span.attributes or {}
            read.add((span.name, span.kind, attributes.get("url.path"), span.end_time))

    await serve(Application(look), telemetry, TRANSPORT)
    assert read == {(CONNECTION, SpanKind.SERVER, "/graphql", None)}


# --- After the end ---------------------------------------------------------------------------


def readable(span: Any) -> dict[str, Any]:
    """What of a span can be read."""
    context, parent = span.get_span_context(), span.parent
    return {
        "id": (context.trace_id, context.span_id),
        "name": span.name,
        "attributes": dict(span.attributes or {}),
        "parent": None if parent is None else (parent.trace_id, parent.span_id),
        "kind": span.kind,
        "resource": span.resource,
        "start_time": span.start_time,
        "end_time": span.end_time,
    }


def recording(span: Any) -> Any:
    return span.is_recording()


@pytest.mark.parametrize("protocol", EVERYWHERE)
@pytest.mark.parametrize("shape", ["linked", "nested"])
async def test_a_span_that_has_ended_still_says_what_can_be_read_of_it(
    shape: str, protocol: str, telemetry: Telemetry
) -> None:
    kept: dict[str, Any] = {}

    def keep(place: str) -> None:
        kept[place] = trace.get_current_span()
        kept[place].set_attribute("tenant", "acme")
        if protocol != "http":
            kept[CONNECTION] = connection_span()

    application = Application(keep)
    view = instrumented(telemetry, application.view, trace_shape=shape)
    async with hosting(view(schema=application.schema, keep_alive=False)) as host:
        if protocol == "http":
            await host.post({"query": QUERY})
        else:
            await converse(host, protocol)

    for place, span in kept.items():
        [exported] = telemetry.spans(place)
        assert readable(span) == readable(exported)
        assert span.end_time is not None
        assert isinstance(span, ReadableSpan)
        assert recording(span) is False


@pytest.mark.parametrize("protocol", EVERYWHERE)
async def test_nothing_that_is_done_to_a_span_that_has_ended_is_seen(
    protocol: str, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    kept: list[Any] = []
    await serve(Application(lambda _: kept.append(trace.get_current_span())), telemetry, protocol)
    before = recorded(telemetry)
    for span in kept:
        span.set_attribute("late", "yes")
        span.set_attributes({"later": "yes"})
        span.add_event("late")
        span.add_link(span.get_span_context())
        span.update_name("late")
        span.set_status(trace.StatusCode.ERROR)
        span.record_exception(ValueError())
        span.end()
        assert "late" not in span.attributes
    assert recorded(telemetry) == before
    assert telemetry.span_counter.started == telemetry.span_counter.ended


@pytest.mark.parametrize("protocol", EVERYWHERE)
async def test_a_background_task_finds_the_span_that_it_was_started_under(
    protocol: str, telemetry: Telemetry
) -> None:
    over = asyncio.Event()
    tasks: list[asyncio.Task[tuple[str, Any]]] = []

    async def background() -> tuple[str, Any]:
        await over.wait()
        span: Any = trace.get_current_span()
        return span.name, span.attributes.get("graphql.operation.type")

    def start(place: str) -> None:
        if place != INIT:
            tasks.append(asyncio.create_task(background()))

    application = Application(start)
    await serve(application, telemetry, protocol)
    over.set()
    places = [place for place in application.places if place != INIT]
    assert await asyncio.gather(*tasks) == [(place, place) for place in places]


class Weakly(SpanProcessor):
    """Keeps weak references to the spans of the SDK."""

    def __init__(self) -> None:
        self.spans: list[weakref.ref[Span]] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.spans.append(weakref.ref(span))


async def test_what_is_kept_of_a_span_that_has_ended_is_not_the_span(telemetry: Telemetry) -> None:
    weakly, kept = Weakly(), []
    telemetry.tracer_provider.add_span_processor(weakly)

    def keep(_place: str) -> None:
        kept.extend([trace.get_current_span(), connection_span()])

    await serve(Application(keep), telemetry, TRANSPORT)
    gc.collect()
    assert kept
    assert [alive for alive in (found() for found in weakly.spans) if alive is not None] == []


# --- Ended by the user -----------------------------------------------------------------------


def ends(_place: str) -> None:
    trace.get_current_span().end()


def ends_with_a_block(_place: str) -> None:
    with trace.use_span(trace.get_current_span(), end_on_exit=True):
        pass


def ends_as_a_manager(_place: str) -> None:
    with trace.get_current_span():
        pass


def ends_the_connection(_place: str) -> None:
    connection_span().end()


ENDS = [ends, ends_with_a_block, ends_as_a_manager, ends_the_connection]


@pytest.mark.parametrize("protocol", EVERYWHERE)
@pytest.mark.parametrize("end", ENDS)
async def test_a_user_who_ends_a_span_ends_none_of_the_library(
    end: Callable[[str], None],
    protocol: str,
    telemetry: Telemetry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await serve(Application(end), telemetry, protocol)
    assert recorded(telemetry) == await undisturbed(protocol)
    assert set(telemetry.span_counter.ended.values()) == {1}
    assert [record for record in caplog.records if record.name.startswith("opentelemetry")] == []


async def test_what_is_put_on_a_span_that_a_user_has_ended_is_on_it(telemetry: Telemetry) -> None:
    recording: list[bool] = []

    def end_and_go_on(_place: str) -> None:
        for span in (trace.get_current_span(), connection_span()):
            span.end()
            span.set_attribute("tenant", "acme")
            recording.append(span.is_recording())

    application = Application(end_and_go_on)
    await serve(application, telemetry, TRANSPORT)
    assert set(recording) == {True}
    tenants = {span.name: attributes_of(span).get("tenant") for span in telemetry.spans()}
    assert {name: tenants[name] for name in (CONNECTION, *application.places)} == {
        CONNECTION: "acme",
        **dict.fromkeys(application.places, "acme"),
    }


# --- Renamed ---------------------------------------------------------------------------------


def names(telemetry: Telemetry) -> list[str]:
    return [span.name for span in telemetry.spans()]


@pytest.mark.parametrize("protocol", EVERYWHERE)
@pytest.mark.parametrize("options", [{}, {"name_spans_after_operation": True}], ids=str)
async def test_a_user_who_renames_the_current_span_has_named_it(
    options: dict[str, Any], protocol: str, telemetry: Telemetry
) -> None:
    def rename(place: str) -> None:
        trace.get_current_span().update_name(f"my {place}")
        connection_span().update_name("my connection")

    application = Application(rename)
    view = instrumented(telemetry, application.view, **options)
    async with hosting(view(schema=application.schema, keep_alive=False)) as host:
        if protocol == "http":
            await host.post({"query": QUERY})
        else:
            await converse(host, protocol)

    found = [name for name in names(telemetry) if name.startswith("my ")]
    mine = [f"my {place}" for place in application.places]
    assert found == (mine if protocol == "http" else ["my connection", *mine])
    assert [name for name in names(telemetry) if name in {CONNECTION, INIT, "query"}] == []


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("place", ["task", "first extension", "last extension"])
async def test_a_name_that_is_given_before_the_type_is_known_stays(
    protocol: str, place: str, telemetry: Telemetry
) -> None:
    """The library gives its own name as soon as the document is parsed."""

    def rename() -> None:
        trace.get_current_span().update_name("mine")

    acts: dict[str, Act] = {place: rename}
    await over_websocket(doing(acts), telemetry, protocol)
    first, *others = [
        span for span in telemetry.spans() if "graphql.ws.operation.id" in (span.attributes or {})
    ]
    assert first.name == "mine"
    assert {each.name for each in others} <= {"query", "subscription"}
    assert attributes_of(first)["graphql.operation.type"] in {"query", "subscription"}


async def test_a_name_that_is_given_before_the_type_is_known_stays_over_http(
    telemetry: Telemetry,
) -> None:
    def rename() -> None:
        trace.get_current_span().update_name("mine")

    async with hosting(made(doing({"last extension": rename}), telemetry)) as host:
        await host.post({"query": "query Seen { seen }"})
    assert names(telemetry)[0] == "mine"


class RenamingAtTheStart(SpanProcessor):
    """Gives each span a name of its own as it starts."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        span.update_name(f"my {span.name}")


class RenamingLater(SpanProcessor):
    """Renames a span without a type when the next one starts: of a phase, or the application's."""

    def __init__(self) -> None:
        self._operation: Span | None = None

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if span.name == OPERATION:
            self._operation = span
        elif self._operation is not None:
            self._operation.update_name(f"my {OPERATION}")
            self._operation = None


@pytest.mark.parametrize("protocol", EVERYWHERE)
@pytest.mark.parametrize("processor", [RenamingAtTheStart, RenamingLater])
async def test_a_name_that_a_processor_gives_stays(
    processor: type[SpanProcessor], protocol: str, telemetry: Telemetry
) -> None:
    telemetry.tracer_provider.add_span_processor(processor())
    tracer = telemetry.tracer_provider.get_tracer("application")
    application = Application(lambda _: tracer.start_span("db").end())
    await serve(application, telemetry, protocol)
    kinds = [span.name for span in telemetry.spans() if span.kind is SpanKind.SERVER]
    operations = ["my GraphQL Operation" for place in application.places if place != INIT]
    ours = [] if protocol == "http" else [CONNECTION, INIT]
    if processor is RenamingAtTheStart:
        ours = [f"my {name}" for name in ours]
    assert kinds == [*ours, *operations]


async def test_a_renamed_span_is_recorded_like_any_other(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    """Its attributes, events, links and status are those of one that kept its name."""

    def rename(place: str) -> None:
        trace.get_current_span().update_name(f"my {place}")

    await serve(Application(rename), telemetry, TRANSPORT)
    keys = ("kind", "attributes", "events", "status", "description")
    expected = [{key: each[key] for key in keys} for each in await undisturbed(TRANSPORT)]
    found = [{key: each[key] for key in keys} for each in recorded(telemetry)]
    assert found == expected
    assert library_log.records == []


async def test_after_the_view_no_span_of_the_library_is_current(telemetry: Telemetry) -> None:
    """Whatever the user did to it."""
    after = After()
    application = Application(ends)
    view = instrumented(telemetry, application.view)(schema=application.schema, keep_alive=False)
    async with hosting(view, after.middleware) as host:
        await converse(host, TRANSPORT)
        await host.post({"query": QUERY})
    assert after.saw == [({}, None, 0, 0)] * 2
