"""Providers, samplers and propagators of every make are used as they are.

The spans and metrics of a conversation are those with the SDK's own provider and sampler.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import (
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tests.support.applications.provider_conversations import bare, recording, talk, usual, view_of
from tests.support.applications.wrapped_providers import MAKES, PlainMeters
from tests.support.clock import stop_clock
from tests.support.expected import CONNECTION, SpanDict, recorded
from tests.support.forked import Run, run_each
from tests.support.hosting import hosting, part
from tests.support.log import LogKeeper
from tests.support.schema import HELLO
from tests.support.telemetry import Telemetry


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


@pytest.fixture
def other() -> Iterator[Telemetry]:
    """The telemetry of another provider."""
    telemetry = Telemetry()
    yield telemetry
    telemetry.shutdown()


# --- Makes of providers ----------------------------------------------------------------------


@pytest.mark.parametrize("make", MAKES)
async def test_a_provider_of_any_make_is_recorded_into(
    make: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    tracers, meters = MAKES[make]
    view = view_of(tracers(telemetry.tracer_provider), meters(telemetry.meter_provider))
    assert await talk(view) == await talk(bare())
    assert (recorded(telemetry), telemetry.metrics()) == await usual()
    assert {record.levelname for record in library_log.records} == {"WARNING"}


async def test_views_of_one_unhashable_provider_count_together(telemetry: Telemetry) -> None:
    meters = PlainMeters(telemetry.meter_provider)
    for _ in range(2):
        await talk(view_of(telemetry.tracer_provider, meters))
    assert telemetry.total("websocket.server.closes") == 4
    assert telemetry.total("websocket.server.connection.duration") == 4


async def test_views_of_several_proxies_of_one_provider_count_together(
    telemetry: Telemetry,
) -> None:
    """As where an application makes a proxy for each view."""
    for _ in range(2):
        meters = PlainMeters(telemetry.meter_provider)
        await talk(view_of(telemetry.tracer_provider, meters))
    assert telemetry.total("websocket.server.closes") == 4
    assert telemetry.total("websocket.server.connection.duration") == 4


@dataclasses.dataclass(frozen=True)
class Named(metrics.MeterProvider):
    """Equal to any other of its name, wherever that writes to."""

    name: str
    provider: metrics.MeterProvider = dataclasses.field(compare=False)

    def get_meter(self, *arguments: Any, **keywords: Any) -> metrics.Meter:
        return self.provider.get_meter(*arguments, **keywords)


async def test_providers_that_are_equal_are_not_the_same(
    telemetry: Telemetry, other: Telemetry
) -> None:
    views = [
        view_of(each.tracer_provider, Named("tenant", each.meter_provider))
        for each in (telemetry, other)
    ]
    for view in views:
        await talk(view)
    assert [each.total("websocket.server.closes") for each in (telemetry, other)] == [2, 2]


# --- The global providers --------------------------------------------------------------------

GLOBAL = [
    ("set before the view", "unhashable"),
    ("set before the view", "proxy"),
    ("set after the view", "unhashable"),
    ("set after a conversation", "unhashable"),
    ("replaced", "the SDK's"),
    ("replaced", "unhashable"),
    ("named and implied", "unhashable"),
]


@pytest.fixture(scope="module")
def runs() -> Mapping[tuple[str, ...], Run]:
    """A process for each order: the providers of a process can be set once, without tricks."""
    return run_each("tests.support.applications.global_providers_program", GLOBAL)


@pytest.mark.parametrize("order", GLOBAL, ids=", ".join)
def test_the_global_providers_are_recorded_into_whenever_they_are_set(
    order: tuple[str, str], runs: Mapping[tuple[str, ...], Run]
) -> None:
    run = runs[order]
    assert (run.status, run.output.splitlines()[-1:], run.errors) == (0, ["as expected"], "")


class Following(trace.TracerProvider, trace.Tracer):
    """A proxy that asks, for every span, the provider that it has by then."""

    def __init__(self, provider: trace.TracerProvider) -> None:
        self.provider = provider

    def get_tracer(self, *_: Any, **__: Any) -> trace.Tracer:
        return self

    def start_span(self, *arguments: Any, **keywords: Any) -> trace.Span:
        return self.provider.get_tracer("following").start_span(*arguments, **keywords)

    def start_as_current_span(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


async def test_a_proxy_whose_provider_is_replaced_is_followed(
    telemetry: Telemetry, other: Telemetry
) -> None:
    proxy = Following(telemetry.tracer_provider)
    view = view_of(proxy, metrics.NoOpMeterProvider())
    await talk(view)
    proxy.provider = other.tracer_provider
    await talk(view)
    expected, _ = await usual()
    assert recorded(telemetry) == recorded(other) == expected


# --- Samplers --------------------------------------------------------------------------------


class Sampling(Sampler):
    """Samples everything, and forwards what a function makes of the attributes."""

    def __init__(self, forward: Any, decision: Decision = Decision.RECORD_AND_SAMPLE) -> None:
        self._forward = forward
        self._decision = decision

    def should_sample(  # noqa: PLR0913, PLR0917  # the signature of the SDK
        self,
        parent_context: Any,
        trace_id: int,
        name: str,
        kind: Any = None,
        attributes: Any = None,
        links: Any = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        return SamplingResult(self._decision, self._forward(attributes))

    def get_description(self) -> str:
        return "Sampling"


def writes(attributes: Any) -> Any:
    attributes = {} if attributes is None else attributes
    attributes["sample_rate"] = 100.0
    return attributes


def updates(attributes: Any) -> Any:
    attributes = {} if attributes is None else attributes
    attributes.update(sample_rate=1.0)
    attributes.pop("sample_rate")
    attributes.setdefault("sample_rate", 100.0)
    return attributes


def joins(attributes: Any) -> Any:
    return (attributes or {}) | {"sample_rate": 100.0}


def demands_a_dict(attributes: Any) -> Any:
    if attributes is not None and not isinstance(attributes, dict):
        raise TypeError
    return {**json.loads(json.dumps(attributes or {})), "sample_rate": 100.0}


WRITING = [writes, updates, joins, demands_a_dict]
FORGETTING = {
    "nothing": lambda _: None,
    "an empty dict": lambda _: {},
    "its own": lambda _: {"sample_rate": 100.0},
}


def without_rate(spans: list[SpanDict]) -> list[SpanDict]:
    """The spans without what the sampler added to all of them."""
    for each in spans:
        each["attributes"].pop("sample_rate", None)
    return spans


@pytest.mark.parametrize("forward", WRITING)
async def test_a_sampler_may_write_into_what_it_is_handed(forward: Any) -> None:
    telemetry = Telemetry(sampler=Sampling(forward))
    assert await talk(recording(telemetry)) == await talk(bare())
    spans = recorded(telemetry)
    assert {each["attributes"]["sample_rate"] for each in spans} == {100.0}
    assert (without_rate(spans), telemetry.metrics()) == await usual()
    telemetry.shutdown()


@pytest.mark.parametrize("forwarded", FORGETTING)
async def test_what_a_sampler_does_not_forward_is_there_all_the_same(forwarded: str) -> None:
    telemetry = Telemetry(sampler=Sampling(FORGETTING[forwarded]))
    await talk(recording(telemetry, capture_document=True))
    spans = without_rate(recorded(telemetry))
    assert (spans, telemetry.metrics()) == await usual(capture_document=True)
    telemetry.shutdown()


async def test_the_id_of_the_connection_is_there_though_a_sampler_forwards_all_but_that() -> None:
    def forget_id(attributes: Any) -> Any:
        return {
            key: value
            for key, value in (attributes or {}).items()
            if key != "websocket.connection.id"
        }

    telemetry = Telemetry(sampler=Sampling(forget_id))
    await talk(recording(telemetry))
    assert (recorded(telemetry), telemetry.metrics()) == await usual()
    telemetry.shutdown()


async def test_a_value_that_a_sampler_replaces_stays_replaced() -> None:
    """As where it masks an address before the span is made."""

    def mask(attributes: Any) -> Any:
        return {
            key: "masked" if key == "client.address" else value
            for key, value in (attributes or {}).items()
        }

    telemetry = Telemetry(sampler=Sampling(mask))
    await talk(recording(telemetry))
    found = [each["attributes"]["client.address"] for each in recorded(telemetry, CONNECTION)]
    assert found == ["masked", "masked"]
    telemetry.shutdown()


@pytest.mark.parametrize(
    "forward", [writes, FORGETTING["nothing"]], ids=["writes", "forwards none"]
)
async def test_what_is_not_sampled_is_counted(forward: Any) -> None:
    telemetry = Telemetry(sampler=Sampling(forward, Decision.DROP))
    assert await talk(recording(telemetry)) == await talk(bare())
    assert recorded(telemetry) == []
    assert telemetry.metrics() == (await usual())[1]
    telemetry.shutdown()


# --- Propagators -----------------------------------------------------------------------------

TRACE, SPAN = f"{0xA:032x}", f"{0xA1:016x}"
REMOTE = f"{TRACE}-{SPAN}"
SINGLE = {"b3": f"{TRACE}-{SPAN}-1"}
MULTI = {"X-B3-TraceId": TRACE, "X-B3-SpanId": SPAN, "X-B3-Sampled": "1"}
GOOGLE = {"X-Cloud-Trace-Context": f"{TRACE}/{int(SPAN, 16)};o=1"}


class Unlisted(TextMapPropagator):
    """Reads a field that it does not write, as one does for a proxy in front of the server."""

    def extract(
        self, carrier: Any, context: Context | None = None, getter: Getter[Any] = default_getter
    ) -> Context:
        values = {"traceparent": getter.get(carrier, "X-Edge-Trace")}
        return TraceContextTextMapPropagator().extract(values, context)

    def inject(
        self,
        carrier: Any,
        context: Context | None = None,
        setter: Setter[Any] = default_setter,
    ) -> None:
        """Nothing goes out."""

    @property
    def fields(self) -> set[str]:
        return set()


def vendors(module: str, name: str) -> Any:
    return getattr(pytest.importorskip(module), name)()


B3 = "opentelemetry.propagators.b3"
CLOUD = "opentelemetry.propagators.cloud_trace_propagator"
PROPAGATORS: dict[str, tuple[Any, Mapping[str, str]]] = {
    "unlisted": (Unlisted, {"X-Edge-Trace": f"00-{REMOTE}-01"}),
    "b3 reads one": (lambda: vendors(B3, "B3SingleFormat"), SINGLE),
    "b3 reads several": (lambda: vendors(B3, "B3SingleFormat"), MULTI),
    "b3multi reads several": (lambda: vendors(B3, "B3MultiFormat"), MULTI),
    "b3multi reads one": (lambda: vendors(B3, "B3MultiFormat"), SINGLE),
    "Google": (lambda: vendors(CLOUD, "CloudTraceOneWayPropagator"), GOOGLE),
}


@pytest.mark.parametrize("case", PROPAGATORS)
async def test_what_a_propagator_reads_is_read_wherever_a_client_puts_it(
    case: str, telemetry: Telemetry
) -> None:
    make, carrier = PROPAGATORS[case]
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(make())
    try:
        async with hosting(recording(telemetry)) as host:
            client = await host.acknowledged(headers=carrier, payload=dict(carrier))
            extensions = dict(carrier)
            client.json(
                {
                    "type": "subscribe",
                    "id": "a",
                    "payload": {"query": HELLO, "extensions": extensions},
                }
            )
            await client.message("complete")
            await part(client)
            await host.post({"query": HELLO}, carrier)
    finally:
        propagate.set_global_textmap(before)

    remote = [each for each in recorded(telemetry) if each["kind"] == "SERVER"]
    assert [(each["name"], each["parent"]) for each in remote] == [
        (CONNECTION, REMOTE),
        (f"{CONNECTION} Init", REMOTE),
        ("query", REMOTE),
        ("query", REMOTE),
    ]
