"""A broken telemetry pipe: pieces of the OpenTelemetry API that raise on every call.

Each double is a real subclass of the API's class, so that it passes for one, and each call lands
in a call log, so that a test can distinguish a broken pipe from one that nobody used.
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
class CallLog:
    """The calls of one broken pipe."""

    calls: list[str] = field(default_factory=list)

    def fail(self, call: str) -> NoReturn:
        self.calls.append(call)
        raise PipeError(call)


def broken(api: type[Any], call_log: CallLog, **returns: object) -> Any:
    """An instance of an API class whose methods raise, unless there is something to return."""
    members: dict[str, Any] = {"__init__": lambda *_: None}
    for name in (name for name in dir(api) if not name.startswith("_")):
        call = f"{api.__name__}.{name}"
        if name in returns:
            members[name] = _returning(returns[name], call, call_log)
        elif isinstance(getattr(api, name), property):
            members[name] = property(_raising(call, call_log))
        else:
            members[name] = _raising(call, call_log)
    return type(f"Broken{api.__name__}", (api,), members)()


def _raising(call: str, call_log: CallLog) -> Callable[..., NoReturn]:
    def method(*_arguments: object, **_keywords: object) -> NoReturn:
        call_log.fail(call)

    return method


def _returning(value: object, call: str, call_log: CallLog) -> Callable[..., object]:
    def method(*_arguments: object, **_keywords: object) -> object:
        call_log.calls.append(call)
        return value

    return method


@dataclass(frozen=True)
class Pipe:
    """Providers of which some piece is broken, and the log of its calls."""

    call_log: CallLog
    tracer_provider: trace.TracerProvider
    meter_provider: metrics.MeterProvider


def tracing(make: Callable[[CallLog], trace.TracerProvider]) -> Callable[[], Pipe]:
    def pipe() -> Pipe:
        call_log = CallLog()
        return Pipe(call_log, make(call_log), metrics.NoOpMeterProvider())

    return pipe


def metering(make: Callable[[CallLog], metrics.MeterProvider]) -> Callable[[], Pipe]:
    def pipe() -> Pipe:
        call_log = CallLog()
        return Pipe(call_log, trace.NoOpTracerProvider(), make(call_log))

    return pipe


def _provider_of_spans(call_log: CallLog, **returns: object) -> trace.TracerProvider:
    span = broken(trace.Span, call_log, **returns)
    tracer = broken(trace.Tracer, call_log, start_span=span, start_as_current_span=span)
    provider: trace.TracerProvider = broken(trace.TracerProvider, call_log, get_tracer=tracer)
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
    "no tracer": tracing(lambda call_log: broken(trace.TracerProvider, call_log)),
    "no spans": tracing(
        lambda call_log: broken(
            trace.TracerProvider, call_log, get_tracer=broken(trace.Tracer, call_log)
        )
    ),
    "spans that only raise": tracing(_provider_of_spans),
    "spans that take nothing": tracing(
        lambda call_log: _provider_of_spans(
            call_log, is_recording=True, get_span_context=SPAN_CONTEXT
        )
    ),
    "no meter": metering(lambda call_log: broken(metrics.MeterProvider, call_log)),
    "no instruments": metering(
        lambda call_log: broken(
            metrics.MeterProvider, call_log, get_meter=broken(metrics.Meter, call_log)
        )
    ),
    "instruments that take nothing": metering(
        lambda call_log: provider_of_instruments(partial(broken, call_log=call_log))
    ),
}


@contextmanager
def broken_propagator() -> Iterator[CallLog]:
    """The global propagator raises as long as this lasts."""
    call_log, before = CallLog(), propagate.get_global_textmap()
    propagate.set_global_textmap(broken(TextMapPropagator, call_log))
    try:
        yield call_log
    finally:
        propagate.set_global_textmap(before)
