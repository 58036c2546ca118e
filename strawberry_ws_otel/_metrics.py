"""The only place where instruments exist.

Counters and gauges observe a `Totals`. Durations of connections and operations are recorded into
histograms as those end. The SDK drops a second instrument of the same name, and its counts would be
lost: so all views with the same meter provider share one `Metrics`.
"""

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from opentelemetry import metrics
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.util.types import AttributeValue

from strawberry_ws_otel import _semconv
from strawberry_ws_otel._counts import Totals
from strawberry_ws_otel._fuse import FailureLog, Fuse
from strawberry_ws_otel._limits import class_name, present

_LONG: Final = (0.01, 0.1, 1, 10, 60, 300, 900, 3600, 14400, 43200, 86400)
"""Buckets in seconds for what may live for a day."""

_SHORT: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Buckets in seconds for requests, as the HTTP conventions advise."""

_HISTOGRAMS: Final = (
    (_semconv.METRIC_CONNECTION_DURATION, "Life of connections.", _LONG),
    (_semconv.METRIC_OPERATION_DURATION, "Life of operations over a WebSocket.", _LONG),
    (_semconv.METRIC_INIT_DURATION, "From connection_init to its ack or refusal.", _SHORT),
    (_semconv.METRIC_REQUEST_DURATION, "Duration of queries and mutations.", _SHORT),
)

_Attributes = Mapping[str, AttributeValue | None]

_GAUGES: Final = (
    (_semconv.METRIC_ACTIVE_CONNECTIONS, "{connection}", "Open connections."),
    (_semconv.METRIC_SUBSCRIPTIONS_ACTIVE, "{subscription}", "Live subscriptions."),
)

_COUNTERS: Final = (
    (_semconv.METRIC_CLOSES, "{close}", "Ended connections and refused handshakes."),
    (_semconv.METRIC_MESSAGES, "{message}", "Messages, by type and direction."),
    (_semconv.METRIC_IO, "By", "Payload of messages, before compression."),
    (_semconv.METRIC_ERRORS, "{error}", "ERROR frames."),
    (_semconv.METRIC_SUBSCRIPTION_EVENTS, "{event}", "Events of subscriptions."),
)


def _messages(totals: Totals) -> Mapping[Any, int]:
    counts = totals.messages().items()
    return {(each.subprotocol, each.direction, each.name): count for each, count in counts}


_OBSERVED: Final[Mapping[str, tuple[Callable[[Totals], Mapping[Any, int]], tuple[str, ...]]]] = {
    _semconv.METRIC_ACTIVE_CONNECTIONS: (Totals.connections, (_semconv.SUBPROTOCOL,)),
    _semconv.METRIC_SUBSCRIPTIONS_ACTIVE: (lambda totals: {(): totals.subscriptions()}, ()),
    _semconv.METRIC_CLOSES: (Totals.closes, (_semconv.CLOSE_OUTCOME, _semconv.CLOSE_FAULT)),
    _semconv.METRIC_MESSAGES: (
        _messages,
        (_semconv.SUBPROTOCOL, _semconv.IO_DIRECTION, _semconv.MESSAGE_TYPE),
    ),
    _semconv.METRIC_IO: (Totals.bytes, (_semconv.SUBPROTOCOL, _semconv.IO_DIRECTION)),
    _semconv.METRIC_ERRORS: (Totals.frame_errors, (_semconv.ERROR_TYPE,)),
    _semconv.METRIC_SUBSCRIPTION_EVENTS: (Totals.events, (_semconv.ERROR_TYPE,)),
}
"""Which counts a gauge or counter observes, and the attributes that make up their keys."""


def _observer(name: str, totals: Totals) -> Callable[[CallbackOptions], Iterable[Observation]]:
    read, names = _OBSERVED[name]

    def attributes(key: object) -> Mapping[str, str]:
        return present(dict(zip(names, key if isinstance(key, tuple) else (key,), strict=True)))

    return lambda _: [Observation(n, attributes(key)) for key, n in read(totals).items()]


class Metrics:
    """The instruments of one meter provider, and the totals that they observe."""

    def __init__(
        self, meter: metrics.Meter, source: str, failures: FailureLog | None = None
    ) -> None:
        """Create the instruments of `meter`; the log names them by `source`."""
        self.totals = Totals()
        self.meter = meter
        self.source = source
        self._histograms: dict[str, metrics.Histogram] = {}
        with Fuse(failures, source):
            self._create(meter)

    def _create(self, meter: metrics.Meter) -> None:
        for name, unit, description in _GAUGES:
            observer = _observer(name, self.totals)
            meter.create_observable_up_down_counter(name, [observer], unit, description)
        for name, unit, description in _COUNTERS:
            observer = _observer(name, self.totals)
            meter.create_observable_counter(name, [observer], unit, description)
        for name, description, buckets in _HISTOGRAMS:
            self._histograms[name] = meter.create_histogram(
                name, "s", description, explicit_bucket_boundaries_advisory=buckets
            )

    def record(
        self, name: str, seconds: float, attributes: _Attributes, fuse: Fuse, context: Context
    ) -> None:
        """Record a duration in the context whose span an exemplar shall lead to."""
        known: dict[str, AttributeValue] = present(attributes)
        if _semconv.ERROR_TYPE in known:
            known[_semconv.ERROR_TYPE] = self.totals.bounded(str(known[_semconv.ERROR_TYPE]))
        histogram = self._histograms.get(name)
        if histogram is not None and not fuse.blown:
            with fuse:
                histogram.record(seconds, known, context)


class _Registry:
    """One `Metrics` for each meter provider, which it does not keep alive.

    Providers are compared by identity: one need not be hashable, as Logfire's is not.
    """

    def __init__(self) -> None:
        self._metrics: dict[int, tuple[Callable[[], object], Metrics]] = {}
        """A reference to each provider, and its metrics, by the provider's id."""
        # Each holds its meter, so that no other meter can have the id.
        self._by_meter: weakref.WeakValueDictionary[int, Metrics] = weakref.WeakValueDictionary()
        self._of_proxy: Metrics | None = None
        """The metrics of the API's proxy, until a global provider is set."""
        self._lock = threading.RLock()
        # Windows does not have it.
        getattr(os, "register_at_fork", lambda **_: None)(after_in_child=self.forked)

    def forked(self) -> None:
        """Replace, in the child of a fork, the locks that a thread of the parent may have held."""
        self._lock = threading.RLock()
        for each in list(self._by_meter.values()):
            each.totals.forked()

    def get(
        self, provider: MeterProvider | None, failures: FailureLog | None = None
    ) -> tuple[object, Metrics]:
        """Return `provider`, or the global one, and its metrics."""
        current: MeterProvider | None = None
        with Fuse(failures, "the global meter provider"):
            current = metrics.get_meter_provider()
        chosen = current if provider is None else provider
        with self._lock:
            found = self._metrics.get(id(chosen))
            if found is not None and found[0]() is chosen:
                return chosen, found[1]
            made = self._made(chosen, failures, is_global=chosen is current)
            self._metrics[id(chosen)] = self._reference(chosen), made
            return chosen, made

    def _made(
        self, provider: MeterProvider | None, failures: FailureLog | None, *, is_global: bool
    ) -> Metrics:
        source = f"the metrics of {class_name(provider)}"
        if is_global and self._of_proxy is not None:
            # The proxy's instruments have become those of the provider that was set since.
            made, self._of_proxy = self._of_proxy, None
            made.source = source
            return made
        meter: metrics.Meter = metrics.NoOpMeter(_semconv.SCOPE)
        with Fuse(failures, source):
            meter = metrics.get_meter(_semconv.SCOPE, _semconv.__version__, provider)
        # Another proxy of the same provider, such as Logfire's, has the same meter.
        made = self._by_meter.get(id(meter)) or Metrics(meter, source, failures)
        self._by_meter[id(meter)] = made
        if is_global and is_proxy(provider):
            self._of_proxy = made
        return made

    def _reference(self, provider: object) -> Callable[[], object]:
        key = id(provider)
        try:
            return weakref.ref(provider, lambda _: self._metrics.pop(key, None))
        except TypeError:
            return lambda: provider


def is_proxy(provider: object) -> bool:
    """Whether `provider` is the API's, which stands in until a global one is set."""
    in_api = type(provider).__module__.startswith("opentelemetry.metrics.")
    return in_api and not isinstance(provider, metrics.NoOpMeterProvider)


metrics_of: Final = _Registry().get
