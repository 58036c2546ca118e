"""The shape of traces: what is whose parent, what links to what, and where baggage goes."""

import json
import warnings
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import strawberry
from aiohttp import web
from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context, attach, detach, get_current, get_value, set_value
from opentelemetry.propagators.textmap import (
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from strawberry_ws_otel import OTelExtension
from tests.support.clock import stop_clock
from tests.support.expected import (
    CONNECTION,
    EXECUTION,
    INIT,
    PARSING,
    VALIDATION,
    SpanDict,
    connection,
    hashed,
    init,
    operation,
    phases,
    recorded,
    results_of,
    sent,
    span,
)
from tests.support.hosting import Handler, Host, hosting, part
from tests.support.scenarios.model import BOTH
from tests.support.scenarios.steps import TRANSPORT, subscribe
from tests.support.schema import HELLO, TICKS, make_schema
from tests.support.server import PATH
from tests.support.telemetry import Telemetry
from tests.support.views import View, instrumented

# Where a remote span may come from, and what it is then called.
HEADERS = f"{0xA:032x}-{0xA1:016x}"
PAYLOAD = f"{0xB:032x}-{0xB1:016x}"
EXTENSIONS = f"{0xC:032x}-{0xC1:016x}"


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


def carrying(remote: str, **baggage_: str) -> dict[str, str]:
    """The carrier of a remote span and of baggage, in the format of the W3C."""
    entries = ",".join(f"{key}={value}" for key, value in baggage_.items())
    return {"traceparent": f"00-{remote}-01"} | ({"baggage": entries} if entries else {})


@dataclass(frozen=True)
class Carriers:
    """What a client sends where."""

    headers: dict[str, str] = field(default_factory=dict)
    payload: dict[str, Any] = field(default_factory=dict)
    extensions: Any = None


ALL = Carriers(carrying(HEADERS), carrying(PAYLOAD), carrying(EXTENSIONS))


async def converse(host: Host, carriers: Carriers, query: str = HELLO) -> None:
    """Open a connection for one operation, and close it."""
    client = await host.acknowledged(headers=carriers.headers, payload=carriers.payload)
    client.json(subscribe(client, "a", query, extensions=carriers.extensions))
    await client.message("complete")
    await part(client)


@dataclass(frozen=True)
class Family:
    """Parent and links of one span."""

    parent: str | None = None
    links: tuple[str, ...] = ()


def whole(connection_: Family, init_: Family, query: Family) -> list[SpanDict]:
    """All that is recorded of a connection for one query."""
    return [
        connection(
            messages=(2, 3),
            operations=["query"],
            parent=connection_.parent,
            links=connection_.links,
        ),
        init(parent=init_.parent, links=init_.links),
        operation(
            HELLO,
            "completed",
            name="Hello",
            results=1,
            events=[*results_of(TRANSPORT, 1), sent("complete")],
            parent=query.parent,
            links=query.links,
        ),
        *phases("query", PARSING, VALIDATION, EXECUTION),
    ]


ROOT = Family()
CHILDREN = (INIT, "query")
BACK = (CONNECTION,)
OWN_TRACE = Family(links=BACK)
LINKING = Family(links=CHILDREN)
BELOW = Family(CONNECTION)

# shape, what a remote context is, carriers, family of the connection, of its init, of its query
SHAPES: dict[str, tuple[str, str, Carriers, Family, Family, Family]] = {
    "linked, nothing remote": ("linked", "parent", Carriers(), LINKING, OWN_TRACE, OWN_TRACE),
    "linked, headers": (
        *("linked", "parent", Carriers(headers=carrying(HEADERS))),
        *(Family(HEADERS, CHILDREN), OWN_TRACE, OWN_TRACE),
    ),
    "linked, init payload": (
        *("linked", "parent", Carriers(payload=carrying(PAYLOAD))),
        *(LINKING, Family(PAYLOAD, BACK), Family(PAYLOAD, BACK)),
    ),
    "linked, extensions": (
        *("linked", "parent", Carriers(extensions=carrying(EXTENSIONS))),
        *(LINKING, OWN_TRACE, Family(EXTENSIONS, BACK)),
    ),
    "linked, all three": (
        *("linked", "parent", ALL),
        *(Family(HEADERS, CHILDREN), Family(PAYLOAD, BACK), Family(EXTENSIONS, BACK)),
    ),
    "linked, all three as links": (
        *("linked", "link", ALL),
        Family(links=(HEADERS, *CHILDREN)),
        Family(links=(*BACK, PAYLOAD)),
        Family(links=(*BACK, EXTENSIONS)),
    ),
    "linked, init payload as a link": (
        *("linked", "link", Carriers(payload=carrying(PAYLOAD))),
        *(LINKING, Family(links=(*BACK, PAYLOAD)), Family(links=(*BACK, PAYLOAD))),
    ),
    "linked, all three ignored": ("linked", "ignore", ALL, LINKING, OWN_TRACE, OWN_TRACE),
    "nested, nothing remote": ("nested", "parent", Carriers(), ROOT, BELOW, BELOW),
    "nested, headers": (
        *("nested", "parent", Carriers(headers=carrying(HEADERS))),
        *(Family(HEADERS), BELOW, BELOW),
    ),
    "nested, init payload": (
        *("nested", "parent", Carriers(payload=carrying(PAYLOAD))),
        *(LINKING, Family(PAYLOAD, BACK), Family(PAYLOAD, BACK)),
    ),
    "nested, all three": (
        *("nested", "parent", ALL),
        *(Family(HEADERS, CHILDREN), Family(PAYLOAD, BACK), Family(EXTENSIONS, BACK)),
    ),
    "nested, all three as links": (
        *("nested", "link", ALL),
        Family(links=(HEADERS,)),
        Family(CONNECTION, (PAYLOAD,)),
        Family(CONNECTION, (EXTENSIONS,)),
    ),
    "nested, all three ignored": ("nested", "ignore", ALL, ROOT, BELOW, BELOW),
}


def view_of(telemetry: Telemetry, **options: Any) -> View:
    return instrumented(telemetry, **options)(schema=make_schema(OTelExtension), keep_alive=False)


@pytest.mark.parametrize("case", SHAPES)
async def test_parents_and_links_are_those_of_the_table(case: str, telemetry: Telemetry) -> None:
    shape, remote, carriers, *families = SHAPES[case]
    async with hosting(view_of(telemetry, trace_shape=shape, remote_context=remote)) as host:
        await converse(host, carriers)

    assert recorded(telemetry) == whole(*families)


@pytest.mark.parametrize("protocol", BOTH)
async def test_every_operation_without_a_carrier_has_the_parent_of_the_init(
    protocol: str, telemetry: Telemetry
) -> None:
    async with hosting(view_of(telemetry)) as host:
        client = await host.acknowledged(protocol, payload=carrying(PAYLOAD))
        for carrier in (None, carrying(EXTENSIONS), None):
            query = subscribe(client, "a", TICKS, variables={"to": 0}, extensions=carrier)
            client.json(query)
            await client.message("complete")
        await part(client)

    parents = [each["parent"] for each in recorded(telemetry, "subscription")]
    assert parents == [PAYLOAD, EXTENSIONS, PAYLOAD]


@pytest.mark.parametrize("key", ["traceparent", "TraceParent", "TRACEPARENT"])
async def test_keys_of_carriers_are_read_in_any_case(key: str, telemetry: Telemetry) -> None:
    def carry(remote: str) -> dict[str, str]:
        return {key: f"00-{remote}-01"}

    async with hosting(view_of(telemetry)) as host:
        await converse(host, Carriers(carry(HEADERS), carry(PAYLOAD), carry(EXTENSIONS)))

    assert recorded(telemetry) == whole(
        Family(HEADERS, CHILDREN), Family(PAYLOAD, BACK), Family(EXTENSIONS, BACK)
    )


async def test_only_strings_at_the_top_of_the_init_payload_are_a_carrier(
    telemetry: Telemetry,
) -> None:
    nested = {"headers": carrying(PAYLOAD), "tracestate": ["a=1"], "user": 7}
    async with hosting(view_of(telemetry)) as host:
        await converse(host, Carriers(payload=nested))

    assert recorded(telemetry) == whole(LINKING, OWN_TRACE, OWN_TRACE)


async def test_the_trace_state_of_the_client_goes_on(telemetry: Telemetry) -> None:
    carrier = {**carrying(EXTENSIONS), "tracestate": "vendor=value"}
    async with hosting(view_of(telemetry)) as host:
        await converse(host, Carriers(extensions=carrier))

    [query] = telemetry.spans("query")
    assert query.context is not None
    assert query.context.trace_state.to_header() == "vendor=value"
    assert query.parent is not None
    assert query.parent.is_remote


GARBAGE: dict[str, Any] = {
    "nothing": "",
    "words": "garbage",
    "zeros": f"00-{0:032x}-{0:016x}-01",
    "too short": "00-abc-def-01",
    "forbidden version": f"ff-{EXTENSIONS}-01",
    "surrogates": "\ud800" * 55,
    "a megabyte": "x" * 1_000_000,
    "a number": 5,
    "null": None,
    "a list": [f"00-{EXTENSIONS}-01"],
    "an object": {"traceparent": f"00-{EXTENSIONS}-01"},
}


@pytest.mark.parametrize("kind", GARBAGE)
async def test_garbage_brings_no_context(kind: str, telemetry: Telemetry) -> None:
    garbage = {"traceparent": GARBAGE[kind], "baggage": GARBAGE[kind]}
    async with hosting(view_of(telemetry)) as host:
        await converse(host, Carriers(payload=garbage, extensions=garbage))

    assert recorded(telemetry) == whole(LINKING, OWN_TRACE, OWN_TRACE)


@pytest.mark.parametrize("garbage", ["garbage", "", "\xff", "x" * 5000])
async def test_garbage_in_the_headers_brings_no_context(garbage: str, telemetry: Telemetry) -> None:
    headers = {"traceparent": garbage, "tracestate": garbage, "baggage": garbage}
    async with hosting(view_of(telemetry)) as host:
        await converse(host, Carriers(headers=headers))

    assert recorded(telemetry) == whole(LINKING, OWN_TRACE, OWN_TRACE)


@pytest.mark.parametrize("extensions", [{"traceparent": "garbage"}, {}, "string", [1], 5])
async def test_what_is_no_carrier_leaves_the_place_to_the_init_payload(
    extensions: Any, telemetry: Telemetry
) -> None:
    async with hosting(view_of(telemetry)) as host:
        await converse(host, Carriers(payload=carrying(PAYLOAD), extensions=extensions))

    assert recorded(telemetry) == whole(LINKING, Family(PAYLOAD, BACK), Family(PAYLOAD, BACK))


# --- Baggage and other values of the context -------------------------------------------------


@strawberry.type
class Query:
    @strawberry.field
    async def context(self) -> str:
        return said_here()


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def context(self) -> AsyncGenerator[str, None]:
        yield said_here()


def said_here() -> str:
    """The baggage, and the value of the application, that are in the context of the caller."""
    return json.dumps([dict(baggage.get_all()), get_value("application")])


@web.middleware
async def bring_value(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Put a value into the context, as an application may."""
    token = attach(set_value("application", "value"))
    try:
        return await handler(request)
    finally:
        detach(token)


def context_view(telemetry: Telemetry, **options: Any) -> View:
    schema = strawberry.Schema(query=Query, subscription=Subscription, extensions=[OTelExtension])
    return instrumented(telemetry, **options)(schema=schema, keep_alive=False)


WITH_BAGGAGE = Carriers(
    carrying(HEADERS, whose="headers"),
    carrying(PAYLOAD, whose="payload"),
    carrying(EXTENSIONS, whose="extensions"),
)

# shape, what a remote context is, carriers, the baggage in resolvers and sources
BAGGAGE = [
    ("linked", "parent", WITH_BAGGAGE, {"whose": "extensions"}),
    ("linked", "parent", Carriers(payload=WITH_BAGGAGE.payload), {"whose": "payload"}),
    ("linked", "parent", Carriers(headers=WITH_BAGGAGE.headers), {}),
    ("linked", "link", WITH_BAGGAGE, {}),
    ("linked", "ignore", WITH_BAGGAGE, {}),
    ("nested", "parent", WITH_BAGGAGE, {"whose": "extensions"}),
    ("nested", "parent", Carriers(headers=WITH_BAGGAGE.headers), {"whose": "headers"}),
    ("nested", "link", WITH_BAGGAGE, {}),
    ("nested", "ignore", WITH_BAGGAGE, {}),
]


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize(("shape", "remote", "carriers", "expected"), BAGGAGE)
async def test_sources_see_the_baggage_of_their_parent_and_the_values_of_the_application(  # noqa: PLR0913, PLR0917  # a row of a table
    shape: str,
    remote: str,
    carriers: Carriers,
    expected: dict[str, str],
    protocol: str,
    telemetry: Telemetry,
) -> None:
    view = context_view(telemetry, trace_shape=shape, remote_context=remote)
    async with hosting(view, bring_value) as host:
        client = await host.acknowledged(protocol, carriers.headers, payload=carriers.payload)
        query = "subscription { context }"
        client.json(subscribe(client, "a", query, extensions=carriers.extensions))
        result = await client.message("next", "data")

    assert json.loads(result["payload"]["data"]["context"]) == [expected, "value"]


@pytest.mark.parametrize("shape", ["linked", "nested"])
async def test_resolvers_see_the_same_as_sources(shape: str, telemetry: Telemetry) -> None:
    async with hosting(context_view(telemetry, trace_shape=shape), bring_value) as host:
        client = await host.acknowledged()
        carrier = WITH_BAGGAGE.extensions
        client.json(subscribe(client, "a", "{ context }", extensions=carrier))
        result = await client.message("next")

    assert json.loads(result["payload"]["data"]["context"]) == [{"whose": "extensions"}, "value"]


@pytest.mark.parametrize(
    ("remote", "expected"), [("parent", {"whose": "headers"}), ("link", {}), ("ignore", {})]
)
async def test_a_resolver_over_http_sees_the_baggage_of_the_headers(
    remote: str, expected: dict[str, str], telemetry: Telemetry
) -> None:
    async with hosting(context_view(telemetry, remote_context=remote), bring_value) as host:
        _, answer = await host.post({"query": "{ context }"}, WITH_BAGGAGE.headers)

    assert json.loads(answer["data"]["context"]) == [expected, "value"]


class Leaving(View):
    """A view that attaches to the context and never detaches: what comes after inherits it."""

    async def get_context(self, *arguments: Any, **keywords: Any) -> Any:
        attach(set_value("application", "left"))
        return await super().get_context(*arguments, **keywords)

    async def on_ws_connect(self, context: Any) -> Any:
        attach(baggage.set_baggage("tenant", "acme"))
        if (context["connection_params"] or {}).get("fail"):
            raise RuntimeError
        return await super().on_ws_connect(context)


UNTRUSTED = carrying(EXTENSIONS, tenant="untrusted")


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("shape", ["linked", "nested"])
@pytest.mark.parametrize("extensions", [None, UNTRUSTED], ids=["nothing carried", "carried"])
async def test_operations_inherit_what_the_application_left_in_its_context(
    extensions: dict[str, str] | None, shape: str, protocol: str, telemetry: Telemetry
) -> None:
    schema = strawberry.Schema(query=Query, subscription=Subscription, extensions=[OTelExtension])
    traced = instrumented(telemetry, Leaving, trace_shape=shape)
    for view_class in (Leaving, traced):
        async with hosting(view_class(schema=schema, keep_alive=False)) as host:
            client = await host.acknowledged(protocol, payload=WITH_BAGGAGE.payload)
            for id_ in ("first", "second"):
                query = "subscription { context }"
                client.json(subscribe(client, id_, query, extensions=extensions))
                result = await client.message("next", "data")
                await client.message("complete")
                seen, value = json.loads(result["payload"]["data"]["context"])
                # What the init's payload brought is the client's, and gives way to the operation's.
                brought = {} if view_class is Leaving or extensions else {"whose": "payload"}
                assert (seen, value) == ({"tenant": "acme", **brought}, "left")
            await part(client)


async def test_what_the_application_left_in_the_context_is_left_after_the_view_too(
    telemetry: Telemetry,
) -> None:
    left: list[tuple[Any, dict[str, Any], bool]] = []

    @web.middleware
    async def compare(request: web.Request, handler: Handler) -> web.StreamResponse:
        before = trace.get_current_span()
        try:
            return await handler(request)
        finally:
            span = trace.get_current_span()
            left.append((get_value("application"), dict(baggage.get_all()), span is before))

    for view_class in (Leaving, instrumented(telemetry, Leaving)):
        view = view_class(schema=make_schema(OTelExtension), keep_alive=False)
        async with hosting(view, compare) as host:
            await host.post({"query": HELLO}, WITH_BAGGAGE.headers)
            client = await host.acknowledged(headers=WITH_BAGGAGE.headers)
            await part(client)
            client = await host.connect(headers=WITH_BAGGAGE.headers)
            client.json({"type": "connection_init", "payload": {"fail": True}})
            await client.until_end()

    over_a_socket = ("left", {"tenant": "acme"}, True)
    assert left == [("left", {}, True), over_a_socket, over_a_socket] * 2


async def test_the_context_of_the_application_is_its_own_again_after_the_view(
    telemetry: Telemetry,
) -> None:
    contexts: list[tuple[Context, Context]] = []

    @web.middleware
    async def compare(request: web.Request, handler: Handler) -> web.StreamResponse:
        before = get_current()
        try:
            return await handler(request)
        finally:
            contexts.append((before, get_current()))

    async with hosting(view_of(telemetry), bring_value, compare) as host:
        await host.post({"query": HELLO})
        await converse(host, ALL)

    assert len(contexts) == 2
    assert all(before == after for before, after in contexts)


# --- Other propagators -----------------------------------------------------------------------


class SingleB3(TextMapPropagator):
    """The format `b3: <trace>-<span>-1`."""

    def extract(
        self,
        carrier: Any,
        context: Context | None = None,
        getter: Getter[Any] = default_getter,
    ) -> Context:
        values = getter.get(carrier, "b3")
        if not values:
            return context or Context()
        trace_id, span_id, _ = values[0].split("-")
        remote = SpanContext(
            int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(1)
        )
        return trace.set_span_in_context(NonRecordingSpan(remote), context)

    def inject(
        self,
        carrier: Any,
        context: Context | None = None,
        setter: Setter[Any] = default_setter,
    ) -> None:
        raise NotImplementedError

    @property
    def fields(self) -> set[str]:
        return {"b3"}


@contextmanager
def global_propagator(propagator: TextMapPropagator) -> Iterator[None]:
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(propagator)
    try:
        yield
    finally:
        propagate.set_global_textmap(before)


async def test_carriers_are_read_by_the_configured_propagator(telemetry: Telemetry) -> None:
    def b3(remote: str) -> dict[str, str]:
        return {"B3": f"{remote}-1", "traceparent": f"00-{'f' * 32}-{'f' * 16}-01"}

    with global_propagator(SingleB3()):
        async with hosting(view_of(telemetry)) as host:
            await converse(host, Carriers(b3(HEADERS), b3(PAYLOAD), b3(EXTENSIONS)))

    assert recorded(telemetry) == whole(
        Family(HEADERS, CHILDREN), Family(PAYLOAD, BACK), Family(EXTENSIONS, BACK)
    )


# --- Under the instrumentation of the server -------------------------------------------------


@pytest.fixture
def _instrumented(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module = pytest.importorskip("opentelemetry.instrumentation.aiohttp_server")
    instrumentor = module.AioHttpServerInstrumentor()
    with warnings.catch_warnings():
        # It derives from web.Application, which aiohttp discourages.
        warnings.simplefilter("ignore", DeprecationWarning)
        instrumentor.instrument(
            tracer_provider=telemetry.tracer_provider, meter_provider=telemetry.meter_provider
        )
    # Older versions know the global provider only.
    monkeypatch.setattr(module, "tracer", telemetry.tracer_provider.get_tracer("server"))
    yield
    instrumentor.uninstrument()


def families(telemetry: Telemetry) -> dict[str, Family]:
    """Parent and links of each span; the server's own is called differently by its versions."""

    def name(label: str | None) -> str | None:
        return SERVER if label and label.endswith(PATH) else label

    return {
        name(each["name"]) or "": Family(name(each["parent"]), tuple(each["links"]))
        for each in recorded(telemetry)
    }


SERVER = "server"
PHASES = dict.fromkeys((PARSING, VALIDATION, EXECUTION), Family("query"))
UNDER_SERVER = {
    SERVER: Family(HEADERS),
    INIT: OWN_TRACE,
    "query": OWN_TRACE,
    **PHASES,
}


@pytest.mark.usefixtures("_instrumented")
@pytest.mark.parametrize("remote", ["parent", "link", "ignore"])
async def test_a_connection_belongs_to_the_span_of_the_server(
    remote: str, telemetry: Telemetry
) -> None:
    async with hosting(view_of(telemetry, remote_context=remote)) as host:
        await converse(host, Carriers(headers=carrying(HEADERS)))

    assert families(telemetry) == {**UNDER_SERVER, CONNECTION: Family(SERVER, CHILDREN)}


@pytest.mark.usefixtures("_instrumented")
async def test_under_the_server_a_nested_connection_is_one_trace(telemetry: Telemetry) -> None:
    async with hosting(view_of(telemetry, trace_shape="nested")) as host:
        await converse(host, Carriers())

    assert families(telemetry) == {
        SERVER: ROOT,
        CONNECTION: Family(SERVER),
        INIT: BELOW,
        "query": BELOW,
        **PHASES,
    }


@pytest.mark.usefixtures("_instrumented")
@pytest.mark.parametrize("remote", ["parent", "link", "ignore"])
async def test_an_operation_over_http_belongs_to_the_span_of_the_server(
    remote: str, telemetry: Telemetry
) -> None:
    async with hosting(view_of(telemetry, remote_context=remote)) as host:
        await host.post({"query": HELLO}, carrying(HEADERS))

    attributes = {
        "graphql.operation.type": "query",
        "graphql.operation.name": "Hello",
        "graphql.document.hash": hashed(HELLO),
        "http.route": "/graphql",
    }
    [server, *ours] = recorded(telemetry)
    assert server["parent"] == HEADERS
    assert ours == [
        span("query", parent=server["name"], attributes=attributes),
        *phases("query", PARSING, VALIDATION, EXECUTION),
    ]


# --- Many operations -------------------------------------------------------------------------


async def test_links_of_a_connection_are_thinned_like_events(telemetry: Telemetry) -> None:
    async with hosting(view_of(telemetry)) as host:
        client = await host.acknowledged()
        for _ in range(100):
            client.json(subscribe(client, "a", TICKS, variables={"to": 0}))
            await client.message("complete")
        await part(client)

    # The init is the first that is linked to, so the 8th is the seventh operation.
    ordinals = [*range(1, 8), 15, 31, 63]
    kept = ["subscription" if n == 1 else f"subscription {n}" for n in ordinals]
    everything = [f"subscription {n}" for n in range(1, 101)]
    assert recorded(telemetry, CONNECTION) == [
        connection(messages=(101, 101), operations=everything, links=[INIT, *kept])
    ]
    operations = recorded(telemetry, "subscription")
    assert [each["links"] for each in operations] == [[CONNECTION]] * 100


async def test_a_nested_connection_links_to_nothing(telemetry: Telemetry) -> None:
    async with hosting(view_of(telemetry, trace_shape="nested")) as host:
        client = await host.acknowledged()
        for _ in range(20):
            client.json(subscribe(client, "a", TICKS, variables={"to": 0}))
            await client.message("complete")
        await part(client)

    assert [each["links"] for each in recorded(telemetry)] == [[]] * 22
