"""A broken telemetry pipe: pieces of the OpenTelemetry API that raise on every call.

Each double is a real subclass of the API's class, so that it passes for one, and each call lands
in a ledger, so that a test can distinguish a broken pipe from one that nobody used.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

from opentelemetry import metrics, propagate, trace
from opentelemetry.propagators.textmap import TextMapPropagator

SPAN_CONTEXT = trace.SpanContext(
    trace_id=0xABC, span_id=0xDEF, is_remote=False, trace_flags=trace.TraceFlags(1)
)


class PipeError(Exception):
    """What every broken piece raises."""


@dataclass
class Ledger:
    """The calls of one broken pipe."""

    calls: list[str] = field(default_factory=list)

    def fail(self, call: str) -> NoReturn:
        self.calls.append(call)
        raise PipeError(call)


def broken(api: type[Any], ledger: Ledger, **returns: object) -> Any:
    """An instance of an API class whose methods raise, unless there is something to return."""
    members: dict[str, Any] = {"__init__": lambda *_: None}
    for name in (name for name in dir(api) if not name.startswith("_")):
        call = f"{api.__name__}.{name}"
        if name in returns:
            members[name] = _returning(returns[name], call, ledger)
        elif isinstance(getattr(api, name), property):
            members[name] = property(_raising(call, ledger))
        else:
            members[name] = _raising(call, ledger)
    return type(f"Broken{api.__name__}", (api,), members)()


def _raising(call: str, ledger: Ledger) -> Callable[..., NoReturn]:
    def method(*_arguments: object, **_keywords: object) -> NoReturn:
        ledger.fail(call)

    return method


def _returning(value: object, call: str, ledger: Ledger) -> Callable[..., object]:
    def method(*_arguments: object, **_keywords: object) -> object:
        ledger.calls.append(call)
        return value

    return method


@dataclass(frozen=True)
class Pipe:
    """Providers of which some piece is broken, and the ledger of its calls."""

    ledger: Ledger
    tracer_provider: trace.TracerProvider
    meter_provider: metrics.MeterProvider


def tracing(make: Callable[[Ledger], trace.TracerProvider]) -> Callable[[], Pipe]:
    def pipe() -> Pipe:
        ledger = Ledger()
        return Pipe(ledger, make(ledger), metrics.NoOpMeterProvider())

    return pipe


def metering(make: Callable[[Ledger], metrics.MeterProvider]) -> Callable[[], Pipe]:
    def pipe() -> Pipe:
        ledger = Ledger()
        return Pipe(ledger, trace.NoOpTracerProvider(), make(ledger))

    return pipe


def _provider_of_spans(ledger: Ledger, **returns: object) -> trace.TracerProvider:
    span = broken(trace.Span, ledger, **returns)
    tracer = broken(trace.Tracer, ledger, start_span=span, start_as_current_span=span)
    provider: trace.TracerProvider = broken(trace.TracerProvider, ledger, get_tracer=tracer)
    return provider


def provider_of_instruments(double: Callable[..., Any]) -> metrics.MeterProvider:
    """A provider of instruments of every kind; `double` makes one of an API class."""
    kinds: dict[str, type[Any]] = {
        "counter": metrics.Counter,
        "up_down_counter": metrics.UpDownCounter,
        "histogram": metrics.Histogram,
        "observable_counter": metrics.ObservableCounter,
        "observable_up_down_counter": metrics.ObservableUpDownCounter,
        "observable_gauge": metrics.ObservableGauge,
    }
    instruments = {f"create_{name}": double(kind) for name, kind in kinds.items()}
    meter = double(metrics.Meter, **instruments)
    provider: metrics.MeterProvider = double(metrics.MeterProvider, get_meter=meter)
    return provider


PIPES: dict[str, Callable[[], Pipe]] = {
    "no tracer": tracing(lambda ledger: broken(trace.TracerProvider, ledger)),
    "no spans": tracing(
        lambda ledger: broken(trace.TracerProvider, ledger, get_tracer=broken(trace.Tracer, ledger))
    ),
    "spans that only raise": tracing(_provider_of_spans),
    "spans that take nothing": tracing(
        lambda ledger: _provider_of_spans(ledger, is_recording=True, get_span_context=SPAN_CONTEXT)
    ),
    "no meter": metering(lambda ledger: broken(metrics.MeterProvider, ledger)),
    "no instruments": metering(
        lambda ledger: broken(
            metrics.MeterProvider, ledger, get_meter=broken(metrics.Meter, ledger)
        )
    ),
    "instruments that take nothing": metering(
        lambda ledger: provider_of_instruments(partial(broken, ledger=ledger))
    ),
}


@contextmanager
def broken_propagator() -> Iterator[Ledger]:
    """The global propagator raises as long as this lasts."""
    ledger, before = Ledger(), propagate.get_global_textmap()
    propagate.set_global_textmap(broken(TextMapPropagator, ledger))
    try:
        yield ledger
    finally:
        propagate.set_global_textmap(before)
