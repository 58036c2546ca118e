"""Every metric: what it is, what it counts, and that nothing but what happened changes it."""

import asyncio
import gc
import json
import logging
import random
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from inspect import signature
from typing import Any

import pytest
import strawberry
from aiohttp import web
from graphql import GraphQLError
from opentelemetry.metrics import Meter, MeterProvider, NoOpMeter
from opentelemetry.sdk.metrics.export import Histogram, HistogramDataPoint, Sum
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NoOpTracerProvider, TracerProvider

from strawberry_ws_otel import OTelConfig, OTelExtension, OTelViewMixin, __version__
from tests.support.clock import stop_clock
from tests.support.expected import (
    CONNECTION,
    INIT,
    connection,
    init,
    operation,
    recorded,
    results_of,
)
from tests.support.forked import Run, run_each
from tests.support.frames import Frame, Opcode, text_frame
from tests.support.hosting import Host, hosting, part
from tests.support.instruments import (
    ACTIVE,
    BLOCKED,
    BLOCKED_TIME,
    CLOSES,
    ERRORS,
    EVENTS,
    FIRST_RESULTS,
    INITS,
    INSTRUMENTS,
    IO,
    LIFE,
    MESSAGES,
    OPERATIONS,
    REQUESTS,
    SUBSCRIPTIONS,
)
from tests.support.log import LogKeeper
from tests.support.raw_client import Client
from tests.support.scenarios.model import FAULTS, Verdict, by_client
from tests.support.scenarios.steps import COMPLETE, LEGACY, TRANSPORT, subscribe
from tests.support.schema import (
    BROKEN,
    FOREVER,
    HELLO,
    INVALID,
    PARTIAL,
    RENAME,
    TICKS,
    make_schema,
)
from tests.support.telemetry import Attributes, Telemetry, _metrics, labels
from tests.support.views import View, extension, instrumented

APP_ERROR = "tests.support.schema.AppError"
GRAPHQL_ERROR = "graphql.error.graphql_error.GraphQLError"


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


# --- What there is ---------------------------------------------------------------------------


class KeepingMeter(NoOpMeter):
    """A meter that keeps what it was asked for."""

    def __init__(self, name: str, version: str | None) -> None:
        super().__init__(name, version)
        self.made: dict[str, tuple[str, str, list[float] | None]] = {}

    def keep(self, kind: str) -> Callable[..., Any]:
        create = getattr(super(), f"create_{kind}")

        def creating(*arguments: Any, **options: Any) -> Any:
            given = signature(create).bind(*arguments, **options).arguments
            boundaries = given.get("explicit_bucket_boundaries_advisory")
            assert given["name"] not in self.made
            self.made[given["name"]] = (kind, given["unit"], boundaries and list(boundaries))
            return create(*arguments, **options)

        return creating

    def __getattribute__(self, name: str) -> Any:
        head, _, kind = name.partition("create_")
        return self.keep(kind) if not head and kind else super().__getattribute__(name)


class KeepingProvider(MeterProvider):
    """A provider of such a meter."""

    def __init__(self) -> None:
        self.meters: list[KeepingMeter] = []

    def get_meter(self, name: str, version: str | None = None, *_: Any, **__: Any) -> Meter:
        self.meters.append(KeepingMeter(name, version))
        return self.meters[-1]


def test_the_instruments_are_there_from_the_birth_of_the_view_on() -> None:
    provider = KeepingProvider()

    class Recorded(OTelViewMixin, View):
        otel_config = OTelConfig(meter_provider=provider)

    assert provider.meters == []
    Recorded(schema=make_schema())
    [meter] = provider.meters
    assert meter.made == INSTRUMENTS
    assert (meter.name, meter.version) == ("strawberry_ws_otel", __version__)


def outcomes(**counts: int) -> dict[Attributes, float]:
    """The points of `closes`, 0 where nothing else is said."""
    assert counts.keys() <= FAULTS.keys()
    return {
        labels({"websocket.close.outcome": outcome, "websocket.close.fault": fault}): counts.get(
            outcome, 0
        )
        for outcome, fault in FAULTS.items()
    }


def test_before_anything_happened_every_outcome_is_reported_as_0(telemetry: Telemetry) -> None:
    instrumented(telemetry)(schema=make_schema())

    assert telemetry.metrics() == {
        CLOSES: outcomes(),
        SUBSCRIPTIONS: {frozenset(): 0},
        EVENTS: {frozenset(): 0},
        BLOCKED: {frozenset(): 0},
        BLOCKED_TIME: {frozenset(): 0},
    }


# --- The script ------------------------------------------------------------------------------


class Guarded(View):
    """A view that refuses some handshakes."""

    async def get_root_value(self, request: Any) -> Any:
        if "X-Refuse" in request.headers:
            raise web.HTTPForbidden


class Script:
    """A day in the life of a server: conversations one after the other."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.written: Counter[str] = Counter()

    def say(self, client: Client, *messages: object) -> None:
        client.json(*messages)
        assert client.protocol is not None
        self.written[client.protocol] += sum(
            len(text_frame(message).payload) for message in messages
        )

    def read(self, protocol: str) -> int:
        """How many bytes the clients of this subprotocol have read."""
        return sum(
            len(frame.payload)
            for client in self.host.clients
            if client.protocol == protocol
            for frame in client.data_frames
        )

    async def acknowledged(self, protocol: str) -> Client:
        client = await self.host.connect(protocol)
        self.say(client, {"type": "connection_init"})
        await client.message("connection_ack")
        return client

    async def ask(self, client: Client, document: str, **payload: Any) -> None:
        self.say(client, subscribe(client, "a", document, **payload))
        await client.message("complete", "error")

    async def go_live(self, client: Client) -> None:
        self.say(client, subscribe(client, "a", FOREVER))
        await client.message("next", "data")

    async def good_client(self) -> None:
        client = await self.acknowledged(TRANSPORT)
        await self.ask(client, TICKS, variables={"to": 3})
        for document in (HELLO, BROKEN, RENAME, INVALID, PARTIAL):
            await self.ask(client, document)
        await part(client)

    async def legacy_client(self) -> None:
        client = await self.acknowledged(LEGACY)
        await self.ask(client, TICKS, variables={"to": 2})
        await self.go_live(client)
        self.say(client, {"type": "stop", "id": "a"})
        await client.message("complete")
        client.close(4499)
        await client.until_end()

    async def vanishing_client(self) -> None:
        client = await self.acknowledged(TRANSPORT)
        await self.go_live(client)
        client.reset()
        await self.host.served()

    async def refused_clients(self) -> None:
        client = await self.host.connect("soap")
        await client.until_end()
        client = await self.host.connect(TRANSPORT, {"X-Refuse": "yes"})
        assert client.status == 403

    async def confused_clients(self) -> None:
        client = await self.acknowledged(TRANSPORT)
        self.say(client, "{")
        await client.until_end()
        client = await self.acknowledged(LEGACY)
        client.send(Frame(Opcode.TEXT, b"{}", rsv=1))
        await client.until_end()

    async def http_clients(self) -> None:
        await self.host.post({"query": HELLO})
        await self.host.post({"query": BROKEN})

    async def run(self) -> None:
        await self.good_client()
        await self.legacy_client()
        await self.vanishing_client()
        await self.refused_clients()
        await self.confused_clients()
        await self.http_clients()


async def run_script(view: View) -> Script:
    async with hosting(view) as host:
        script = Script(host)
        await script.run()
        await host.served()
    return script


def lives(
    code: int | None, initiator: str, outcome: str, protocol: str | None, error: str | None = None
) -> Attributes:
    """The labels of the duration of one connection."""
    abnormal = FAULTS[outcome] != "none"
    attributes = {
        "websocket.subprotocol": protocol,
        "websocket.close.code": code,
        "websocket.close.initiator": initiator,
        "websocket.close.outcome": outcome,
        "websocket.close.fault": FAULTS[outcome],
        "error.type": (error or outcome) if abnormal else None,
    }
    return labels({key: value for key, value in attributes.items() if value is not None})


def messages(protocol: str, received: dict[str, int], sent: dict[str, int]) -> Any:
    """The points of `messages` of one subprotocol."""
    return {
        labels(
            {
                "websocket.subprotocol": protocol,
                "network.io.direction": direction,
                "graphql.ws.message.type": message_type,
            }
        ): count
        for direction, counts in (("receive", received), ("transmit", sent))
        for message_type, count in counts.items()
    }


def ended(reason: str, operation_type: str | None = None) -> Attributes:
    type_ = {"graphql.operation.type": operation_type} if operation_type else {}
    return labels({"graphql.ws.operation.end_reason": reason, **type_})


def requested(operation_type: str, error: str | None = None) -> Attributes:
    failed = {"error.type": error} if error else {}
    return labels({"graphql.operation.type": operation_type, **failed})


def whole_script(script: Script) -> dict[str, dict[Attributes, float]]:
    """What each metric says after the script."""
    rejected = "aiohttp.web_exceptions.HTTPForbidden"
    return {
        ACTIVE: {
            labels({"websocket.subprotocol": TRANSPORT}): 0,
            labels({"websocket.subprotocol": LEGACY}): 0,
            labels({}): 0,
        },
        LIFE: {
            lives(1000, "client", "normal", TRANSPORT): 1,
            lives(4499, "client", "client_terminated", LEGACY): 1,
            lives(1006, "none", "connection_lost", TRANSPORT): 1,
            lives(4406, "server", "subprotocol_rejected", None): 1,
            lives(None, "none", "handshake_rejected", None, rejected): 1,
            lives(4400, "server", "invalid_message", TRANSPORT): 1,
            lives(1002, "server", "invalid_frame", LEGACY, frame_error()): 1,
        },
        CLOSES: outcomes(
            normal=1,
            client_terminated=1,
            connection_lost=1,
            subprotocol_rejected=1,
            handshake_rejected=1,
            invalid_message=1,
            invalid_frame=1,
        ),
        MESSAGES: messages(
            TRANSPORT,
            {"connection_init": 3, "subscribe": 7, "_OTHER": 1},
            {"connection_ack": 3, "next": 8, "complete": 5, "error": 1},
        )
        | messages(
            LEGACY,
            {"connection_init": 2, "start": 2, "stop": 1},
            {"connection_ack": 2, "data": 3, "complete": 2},
        ),
        IO: {
            **io_of(script, TRANSPORT),
            **io_of(script, LEGACY),
            labels({"network.io.direction": "receive"}): 0,
            labels({"network.io.direction": "transmit"}): 0,
        },
        ERRORS: {labels({"error.type": frame_error()}): 1},
        INITS: {labels({}): 5},
        REQUESTS: {
            requested("query"): 2,
            requested("query", APP_ERROR): 2,
            requested("mutation"): 1,
        },
        SUBSCRIPTIONS: {labels({}): 0},
        EVENTS: {labels({}): 7, labels({"error.type": APP_ERROR}): 1},
        OPERATIONS: {
            ended("completed", "subscription"): 3,
            ended("completed", "query"): 2,
            ended("completed", "mutation"): 1,
            ended("error", "subscription"): 1,
            ended("client_completed", "subscription"): 1,
            ended("connection_closed", "subscription"): 1,
        },
        BLOCKED: {labels({}): 0},
        BLOCKED_TIME: {labels({}): 0},
        FIRST_RESULTS: {
            requested("subscription"): 5,
            requested("query"): 2,
            requested("mutation"): 1,
        },
    }


def frame_error() -> str:
    """The class of aiohttp's own exception, wherever this version keeps it."""
    from aiohttp.http import WebSocketError  # noqa: PLC0415  # only needed here

    return f"{WebSocketError.__module__}.{WebSocketError.__qualname__}"


def io_of(script: Script, protocol: str) -> dict[Attributes, float]:
    """The bytes that the clients of one subprotocol wrote and read."""
    bytes_ = {"receive": script.written[protocol], "transmit": script.read(protocol)}
    return {
        labels({"websocket.subprotocol": protocol, "network.io.direction": direction}): count
        for direction, count in bytes_.items()
    }


async def ask_once(view: View) -> None:
    """One connection for one query."""
    async with hosting(view) as host:
        client = await host.acknowledged()
        client.json(subscribe(client, "a", HELLO))
        await client.message("complete")
        await part(client)


def guarded_view(telemetry: Telemetry, **options: Any) -> View:
    class_ = instrumented(telemetry, Guarded, **options)
    return class_(schema=make_schema(OTelExtension), keep_alive=False)


async def test_the_script_is_counted_to_the_last_byte(telemetry: Telemetry) -> None:
    script = await run_script(guarded_view(telemetry))

    assert telemetry.metrics() == whole_script(script)


async def test_each_metric_is_exported_as_what_it_is(telemetry: Telemetry) -> None:
    await run_script(guarded_view(telemetry))

    exported = {metric.name: metric for metric in _metrics(telemetry.reader)}
    assert exported.keys() == INSTRUMENTS.keys()
    for name, (kind, unit, boundaries) in INSTRUMENTS.items():
        assert exported[name].unit == unit
        assert shape(exported[name].data) == (kind.removeprefix("observable_"), boundaries)


def shape(data: Any) -> tuple[str, list[float] | None]:
    """What the SDK made of an instrument, and the bounds of its buckets."""
    if isinstance(data, Histogram):
        [bounds] = {tuple(point.explicit_bounds) for point in data.data_points}
        return "histogram", list(bounds)
    assert isinstance(data, Sum)
    return ("counter" if data.is_monotonic else "up_down_counter"), None


# --- Sampled or not --------------------------------------------------------------------------


def points(telemetry: Telemetry) -> dict[str, dict[Attributes, Any]]:
    """All that a reader sees, without times and exemplars."""
    return {
        metric.name: {
            labels(point.attributes or {}): _point(point) for point in metric.data.data_points
        }
        for metric in _metrics(telemetry.reader)
    }


def _point(point: Any) -> Any:
    if isinstance(point, HistogramDataPoint):
        return point.count, point.sum, tuple(point.bucket_counts)
    return point.value


def unsampled() -> TracerProvider:
    return Telemetry(sampler=ALWAYS_OFF).tracer_provider


@pytest.mark.parametrize("tracers", [unsampled, NoOpTracerProvider])
async def test_numbers_are_the_same_whether_or_not_anybody_samples(
    tracers: Callable[[], TracerProvider], telemetry: Telemetry
) -> None:
    await run_script(guarded_view(telemetry))
    other = Telemetry()
    view = guarded_view(other)
    view.otel_config = OTelConfig(  # type: ignore[attr-defined]  # of the mixin
        tracer_provider=tracers(), meter_provider=other.meter_provider
    )
    await run_script(view)

    assert points(other) == points(telemetry)
    assert other.spans() == []
    other.shutdown()


# --- Several views ---------------------------------------------------------------------------


def doubled(metrics: dict[str, dict[Attributes, float]]) -> dict[str, dict[Attributes, float]]:
    return {
        name: {attributes: value * 2 for attributes, value in each.items()}
        for name, each in metrics.items()
    }


async def test_views_on_one_meter_provider_add_up(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    views = [guarded_view(telemetry), guarded_view(telemetry, message_events=0)]
    scripts = [await run_script(view) for view in views]

    assert telemetry.metrics() == doubled(whole_script(scripts[0]))
    assert duplicates(caplog) == []


async def test_an_extension_alone_on_the_same_meter_provider_adds_up_as_well(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    alone = strawberry.Schema(query=Failing, extensions=[extension(telemetry)])
    async with hosting(instrumented(telemetry)(schema=make_schema(OTelExtension))) as host:
        await host.post({"query": HELLO})
        await alone.execute("{ fine }")

    assert telemetry.metrics()[REQUESTS] == {requested("query"): 2}
    assert duplicates(caplog) == []


def duplicates(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the SDK has to complain about."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("opentelemetry") and record.levelno >= logging.WARNING
    ]


async def test_what_is_alive_is_counted_over_all_views(telemetry: Telemetry) -> None:
    first, second = (instrumented(telemetry)(schema=make_schema(OTelExtension)) for _ in range(2))
    async with hosting(first) as one, hosting(second) as two:
        clients = [await one.acknowledged(), await two.acknowledged(), await two.acknowledged()]
        for client in clients:
            client.json(subscribe(client, "a", FOREVER))
            await client.message("next")
        assert telemetry.metrics()[ACTIVE] == {labels({"websocket.subprotocol": TRANSPORT}): 3}
        assert telemetry.metrics()[SUBSCRIPTIONS] == {labels({}): 3}
        assert telemetry.metrics()[EVENTS] == {labels({}): 3}
        await part(clients[0])
        await one.served()
        assert telemetry.metrics()[ACTIVE] == {labels({"websocket.subprotocol": TRANSPORT}): 2}
        assert telemetry.metrics()[SUBSCRIPTIONS] == {labels({}): 2}


# --- The global provider ---------------------------------------------------------------------


ORDERS = {
    # when the providers are set, and how many views there are
    "set later": 1,
    "explicit and implicit": 2,
    "implicit and explicit": 2,
    "set between": 2,
    "explicit before it is set": 2,
}


@pytest.fixture(scope="module")
def orders() -> Mapping[tuple[str, ...], Run]:
    """The runs of a program that sets the global providers, which a process can do once."""
    return run_each("tests.support.global_provider_program", [(order,) for order in ORDERS])


@pytest.mark.parametrize("order", ORDERS)
def test_there_is_one_global_provider_whenever_it_is_set(
    order: str, orders: Mapping[tuple[str, ...], Run]
) -> None:
    run, views = orders[order,], ORDERS[order]
    assert (run.status, run.errors) == (0, "")
    assert json.loads(run.output) == {
        "closes": views,
        "active": 0,
        "open": 0,
        "lives": views,
        "events": 2 * views,
        "spans": sorted([CONNECTION, INIT, "subscription"] * views),
        "log": [],
    }


async def test_a_meter_provider_that_is_dropped_is_collected() -> None:
    # On a loop of its own, since a loop keeps the contexts of timers that were cancelled.
    dropped = await asyncio.to_thread(asyncio.run, use_and_drop())
    gc.collect()

    assert dropped() is None


async def use_and_drop() -> weakref.ref[MeterProvider]:
    """A meter provider that has recorded a connection."""
    telemetry = Telemetry()
    await ask_once(guarded_view(telemetry))
    telemetry.shutdown()
    return weakref.ref(telemetry.meter_provider)


# --- A storm ---------------------------------------------------------------------------------


async def live(client: Client) -> None:
    client.json({"type": "connection_init"})
    await client.message("connection_ack")
    client.json(subscribe(client, "a", FOREVER))
    await client.message("next", "data")


async def leaves(client: Client) -> None:
    await live(client)
    await part(client)


async def resets(client: Client) -> None:
    await live(client)
    client.reset()


async def hangs_up(client: Client) -> None:
    await live(client)
    client.fin()
    await client.until_end()


async def completes(client: Client) -> None:
    await live(client)
    assert client.protocol is not None
    client.json({"type": COMPLETE[client.protocol], "id": "a"})
    await part(client)


async def exhausts(client: Client) -> None:
    client.json({"type": "connection_init"})
    client.json(subscribe(client, "a", TICKS, variables={"to": 5}))
    await client.message("complete")
    await part(client)


async def babbles(client: Client) -> None:
    await live(client)
    client.send(Frame(Opcode.TEXT, b"{}", rsv=1))
    await client.until_end()


async def despairs(client: Client) -> None:
    await live(client)
    client.close(4499)
    await client.until_end()


async def disappoints(client: Client) -> None:
    await live(client)
    client.close(3456)
    await client.until_end()


async def rushes(client: Client) -> None:
    client.json(subscribe(client, "a", HELLO))
    await client.until_end()


CLOSED = "connection_closed"
# what the client does, the outcome, the end reason of its operation
STORM: list[tuple[Callable[[Client], Awaitable[None]], str, str]] = [
    (leaves, "normal", CLOSED),
    (resets, "connection_lost", CLOSED),
    (hangs_up, "connection_lost", CLOSED),
    (completes, "normal", "client_completed"),
    (exhausts, "normal", "completed"),
    (babbles, "invalid_frame", CLOSED),
    (despairs, "client_terminated", CLOSED),
    (disappoints, "application_code", CLOSED),
    (rushes, "unauthorized", "rejected"),
]


async def test_after_a_storm_nothing_is_alive_and_everything_is_counted(
    telemetry: Telemetry,
) -> None:
    chance = random.Random(7)  # noqa: S311  # a storm, not a secret
    fates = [(*chance.choice(STORM), chance.choice([TRANSPORT, LEGACY])) for _ in range(300)]
    view = instrumented(telemetry)(schema=make_schema(OTelExtension), keep_alive=False)
    async with hosting(view) as host:
        clients = [await host.connect(protocol) for *_, protocol in fates]
        acts = [act(client) for client, (act, *_) in zip(clients, fates, strict=True)]
        assert telemetry.total(ACTIVE) == len(fates)
        await asyncio.gather(*acts)
        await host.served()

    metrics = telemetry.metrics()
    assert metrics[ACTIVE] == {
        labels({"websocket.subprotocol": protocol}): 0 for protocol in (TRANSPORT, LEGACY)
    }
    assert metrics[SUBSCRIPTIONS] == {labels({}): 0}
    assert metrics[CLOSES] == outcomes(**Counter(outcome for _, outcome, *_ in fates))
    assert sum(metrics[LIFE].values()) == len(fates)
    reasons = Counter(reason for *_, reason, _ in fates)
    assert {
        reason: telemetry.total(OPERATIONS, graphql__ws__operation__end_reason=reason)
        for reason in reasons
    } == reasons
    assert sum(metrics[OPERATIONS].values()) == len(fates)
    assert telemetry.span_counter.started == telemetry.span_counter.ended


# --- Exemplars -------------------------------------------------------------------------------


async def test_exemplars_lead_to_the_span_that_was_measured(telemetry: Telemetry) -> None:
    await ask_once(instrumented(telemetry)(schema=make_schema(OTelExtension)))

    operations = dict.fromkeys((OPERATIONS, REQUESTS, FIRST_RESULTS), "query")
    measured = {LIFE: CONNECTION, INITS: INIT, **operations}
    assert exemplars(telemetry) == {
        name: span_of(telemetry, span) for name, span in measured.items()
    }


async def test_the_exemplar_of_a_request_over_http_leads_to_its_span(
    telemetry: Telemetry,
) -> None:
    async with hosting(View(schema=make_schema(extension(telemetry)))) as host:
        await host.post({"query": HELLO})

    assert exemplars(telemetry) == {REQUESTS: span_of(telemetry, "query")}


def exemplars(telemetry: Telemetry) -> dict[str, list[tuple[int | None, int | None]]]:
    """Trace and span of each exemplar of the histograms, which the first reader gets."""
    return {
        metric.name: [
            (exemplar.trace_id, exemplar.span_id)
            for point in metric.data.data_points
            for exemplar in point.exemplars
        ]
        for metric in _metrics(telemetry.reader)
        if isinstance(metric.data, Histogram)
    }


def span_of(telemetry: Telemetry, name: str) -> list[tuple[int, int]]:
    """Trace and id of the one span of this name."""
    [span] = telemetry.spans(name)
    assert span.context is not None
    return [(span.context.trace_id, span.context.span_id)]


# --- Bounds ----------------------------------------------------------------------------------


@strawberry.type
class Failing:
    @strawberry.field
    def fine(self) -> int:
        return 1

    @strawberry.field
    def fail(self, code: str) -> int | None:
        raise GraphQLError("failed", extensions={"code": code})


def test_metrics_keep_the_first_hundred_classes_of_errors(telemetry: Telemetry) -> None:
    codes = [f"CODE_{number}" for number in range(150)]
    schema = strawberry.Schema(query=Failing, extensions=[extension(telemetry)])
    for code in [*codes, *codes[:5]]:
        schema.execute_sync("query($c: String!) { fail(code: $c) }", {"c": code})

    assert telemetry.metrics()[REQUESTS] == {
        **{requested("query", code): 2 for code in codes[:5]},
        **{requested("query", code): 1 for code in codes[5:100]},
        requested("query", "_OTHER"): 50,
    }
    types = [each["attributes"]["error.type"] for each in recorded(telemetry, "query")]
    assert types == [*codes, *codes[:5]]


async def test_close_codes_without_a_name_are_left_out(telemetry: Telemetry) -> None:
    async with hosting(instrumented(telemetry)(schema=make_schema())) as host:
        for code in (3000, 3001, 4123):
            client = await host.connect()
            client.close(code)
            await client.until_end()

    assert telemetry.metrics()[LIFE] == {lives(None, "client", "application_code", TRANSPORT): 3}


async def test_nothing_that_a_client_makes_up_becomes_a_label(telemetry: Telemetry) -> None:
    async with hosting(instrumented(telemetry)(schema=make_schema(OTelExtension))) as host:
        client = await host.acknowledged(LEGACY)
        client.json({"type": "made-up"}, [], subscribe(client, "made-up", "query made-up { x }"))
        await client.until_end()
        client = await host.acknowledged()
        client.json(subscribe(client, "made-up", "subscription MadeUp { forever }"))
        await client.message("next")
        client.close(4123, b"made-up")
        await client.until_end()

    text = repr(telemetry.metrics()).lower()
    assert "made" not in text


# --- Normal outcomes -------------------------------------------------------------------------


class Ordinary(Verdict):
    """A verdict that the operator declared ordinary."""

    @property
    def fault(self) -> str:
        return "none"


@pytest.fixture
def ordinary_view(telemetry: Telemetry) -> View:
    class_ = instrumented(telemetry, normal_outcomes={"connection_lost", 4100})
    return class_(schema=make_schema(OTelExtension))


@pytest.mark.parametrize(
    ("act", "verdict"),
    [
        (lambda client: client.reset(), Ordinary(outcome="connection_lost", code=1006)),
        (
            lambda client: client.close(4100),
            Ordinary(
                outcome="application_code",
                code=4100,
                initiator="client",
                clean=True,
                sent=1000,
                received=4100,
            ),
        ),
    ],
    ids=["outcome", "code"],
)
async def test_what_an_operator_declares_ordinary_is_nobody_s_fault(
    act: Callable[[Client], None],
    verdict: Ordinary,
    ordinary_view: View,
    telemetry: Telemetry,
    library_log: LogKeeper,
) -> None:
    async with hosting(ordinary_view) as host:
        client = await host.connect()
        await live(client)
        act(client)
        await client.until_end()

    assert recorded(telemetry) == [
        connection(TRANSPORT, verdict, messages=(2, 2), operations=["subscription"], interrupted=1),
        init(),
        operation(
            FOREVER,
            "connection_closed",
            name="Forever",
            results=1,
            events=results_of(TRANSPORT, 1),
            verdict=verdict,
        ),
    ]
    ours = {"websocket.close.outcome": verdict.outcome, "websocket.close.fault": "none"}
    [life] = telemetry.metrics()[LIFE]
    assert ours.items() <= dict(life).items()
    assert "error.type" not in dict(life)
    counted = {key: value for key, value in telemetry.metrics()[CLOSES].items() if value}
    assert counted == {labels(ours): 1}
    assert library_log.records == []


async def test_what_is_not_declared_ordinary_stays_abnormal(
    ordinary_view: View, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    async with hosting(ordinary_view) as host:
        client = await host.acknowledged()
        client.close(4101)
        await client.until_end()

    assert recorded(telemetry) == [
        connection(TRANSPORT, by_client("application_code", 4101), messages=(1, 1)),
        init(),
    ]
    assert len(library_log.records) == 1


def test_an_ordinary_outcome_is_reported_from_0_on_as_such(
    ordinary_view: View, telemetry: Telemetry
) -> None:
    # The code 4100 makes the others: whoever sends it, and aiohttp after an ERROR frame.
    ordinary = {
        labels({"websocket.close.outcome": outcome, "websocket.close.fault": "none"}): 0
        for outcome in ("connection_lost", "application_code", "invalid_frame")
    }
    assert telemetry.metrics()[CLOSES] == {**outcomes(), **ordinary}
