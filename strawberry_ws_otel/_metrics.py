"""The only place where instruments exist.

Counters and gauges observe a `Totals`. Durations of connections and operations are recorded into
histograms as those end. The SDK drops a second instrument of the same name, and its counts would be
lost: so all views with the same meter provider share its `Instruments`. Each set of attributes of a
configuration has counts of its own, a `Metrics`, and the instruments observe them all.
"""

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

from opentelemetry import metrics
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.util.types import AttributeValue

from strawberry_ws_otel import _semconv
from strawberry_ws_otel._attributes import Value, identity
from strawberry_ws_otel._counts import Totals
from strawberry_ws_otel._fuse import FailureLog, Fuse
from strawberry_ws_otel._limits import class_name, present

_LONG: Final = (0.01, 0.1, 1, 10, 60, 300, 900, 3600, 14400, 43200, 86400)
"""Buckets in seconds for what may live for a day."""

_SHORT: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2, 2.5, 5, 7.5, 10)
"""Buckets in seconds for requests, as the HTTP conventions advise, and 2: what a login may take."""

_HISTOGRAMS: Final = (
    (_semconv.METRIC_CONNECTION_DURATION, "Life of connections.", _LONG),
    (_semconv.METRIC_OPERATION_DURATION, "Life of operations over a WebSocket.", _LONG),
    (_semconv.METRIC_INIT_DURATION, "From connection_init to its ack or refusal.", _SHORT),
    (_semconv.METRIC_REQUEST_DURATION, "Duration of queries and mutations.", _SHORT),
    (_semconv.METRIC_TIME_TO_FIRST_RESULT, "From an operation to its first result.", _SHORT),
)

_Attributes = Mapping[str, AttributeValue | None]

_GAUGES: Final = (
    (_semconv.METRIC_ACTIVE_CONNECTIONS, "{connection}", "Open connections."),
    (_semconv.METRIC_SUBSCRIPTIONS_ACTIVE, "{subscription}", "Live subscriptions."),
    (_semconv.METRIC_SEND_BLOCKED, "{connection}", "Connections with a send that waits."),
)

_COUNTERS: Final = (
    (_semconv.METRIC_CLOSES, "{close}", "Ended connections and refused handshakes."),
    (_semconv.METRIC_MESSAGES, "{message}", "Messages, by type and direction."),
    (_semconv.METRIC_IO, "By", "Payload of messages, before compression."),
    (_semconv.METRIC_ERRORS, "{error}", "ERROR frames."),
    (_semconv.METRIC_SEND_BLOCKED_TIME, "s", "Time for which sends waited for a full buffer."),
    (_semconv.METRIC_SUBSCRIPTION_EVENTS, "{event}", "Events of subscriptions."),
)


def _messages(totals: Totals) -> Mapping[Any, int]:
    counts = totals.messages().items()
    return {(each.subprotocol, each.direction, each.name): count for each, count in counts}


_OBSERVED: Final[Mapping[str, tuple[Callable[[Totals], Mapping[Any, float]], tuple[str, ...]]]] = {
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
    _semconv.METRIC_SEND_BLOCKED: (lambda totals: {(): totals.blocked()}, ()),
    _semconv.METRIC_SEND_BLOCKED_TIME: (lambda totals: {(): totals.blocked_time()}, ()),
}
"""Which counts a gauge or counter observes, and the attributes that make up their keys."""


_NONE: Final = MappingProxyType[str, Value]({})

_MAX_SETS: Final = 100
"""Sets of attributes in a process that have counts of their own, over all meter providers."""


class Instruments:
    """The instruments of one meter, and the counts that they observe."""

    def __init__(
        self, meter: metrics.Meter, source: str, failures: FailureLog | None = None
    ) -> None:
        """Create the instruments of `meter`; the log names them by `source`."""
        self.meter = meter
        self.source = source
        self.histograms: dict[str, metrics.Histogram] = {}
        self._metrics: dict[object, Metrics] = {}
        """By the identity of their attributes."""
        with Fuse(failures, source):
            self._create(meter)

    def _create(self, meter: metrics.Meter) -> None:
        for name, unit, description in _GAUGES:
            observer = self._observer(name)
            meter.create_observable_up_down_counter(name, [observer], unit, description)
        for name, unit, description in _COUNTERS:
            observer = self._observer(name)
            meter.create_observable_counter(name, [observer], unit, description)
        for name, description, buckets in _HISTOGRAMS:
            self.histograms[name] = meter.create_histogram(
                name, "s", description, explicit_bucket_boundaries_advisory=buckets
            )

    def _observer(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        read, names = _OBSERVED[name]

        def attributes(key: object) -> Mapping[str, str]:
            return present(dict(zip(names, key if isinstance(key, tuple) else (key,), strict=True)))

        return lambda _: [
            Observation(n, {**each.attributes, **attributes(key)})
            for each in self.all()
            if each.is_observed()
            for key, n in read(each.totals).items()
        ]

    def all(self) -> "list[Metrics]":
        """Return what is recorded into the instruments."""
        return list(self._metrics.values())

    def find(self, attributes: Mapping[str, Value]) -> "Metrics | None":
        """Return what is recorded with these attributes, if they have counts already."""
        return self._metrics.get(identity(attributes))

    def add(self, attributes: Mapping[str, Value]) -> "Metrics":
        """Begin the counts of attributes that have none."""
        made = self._metrics[identity(attributes)] = Metrics(self, attributes)
        return made


class Metrics:
    """What is recorded with one set of attributes into the instruments of one meter."""

    def __init__(self, instruments: Instruments, attributes: Mapping[str, Value]) -> None:
        """Begin with nothing counted; every point has the `attributes`."""
        self.totals = Totals()
        self.attributes = dict(attributes)
        self.is_used = False
        self._instruments = instruments
        self._awaited: dict[int, weakref.ref[Any]] = {}
        """Those that may use it, by their id: they need not be hashable."""
        self._will_use: Callable[[Any], bool] = bool

    @property
    def source(self) -> str:
        """How the log names the instruments."""
        return self._instruments.source

    def await_use(self, user: object, will_use: Callable[[Any], bool]) -> None:
        """Await that `user` uses it, which it does if `will_use` holds as metrics are collected.

        One that is gone before, and was not forgotten, counts as if it had.
        """
        if not self.is_used:
            self._will_use = will_use
            self._awaited[id(user)] = weakref.ref(user, self._use)

    def forget(self, user: object) -> None:
        """Await no more that `user` uses it."""
        self._awaited.pop(id(user), None)

    def _use(self, _user: object = None) -> None:
        self.is_used = True
        self._awaited.clear()

    def is_observed(self) -> bool:
        """Whether it is used, or is about to be: until then there is nothing to report.

        A reader calls this in a thread of its own while it holds a lock of the SDK. So it takes no
        other lock.
        """
        if not self.is_used:
            users = [reference() for reference in list(self._awaited.values())]
            if any(self._will_use(user) for user in users if user is not None):
                self._use()
        return self.is_used

    def record(
        self, name: str, seconds: float, attributes: _Attributes, fuse: Fuse, context: Context
    ) -> None:
        """Record a duration in the context whose span an exemplar shall lead to."""
        known: dict[str, AttributeValue] = {**self.attributes, **present(attributes)}
        if _semconv.ERROR_TYPE in known:
            known[_semconv.ERROR_TYPE] = self.totals.bounded(str(known[_semconv.ERROR_TYPE]))
        histogram = self._instruments.histograms.get(name)
        if histogram is not None and not fuse.blown:
            with fuse:
                histogram.record(seconds, known, context)


class _Registry:
    """The `Instruments` of each meter provider, which it does not keep alive.

    Providers are compared by identity: one need not be hashable, as Logfire's is not.
    """

    def __init__(self) -> None:
        self._by_provider: dict[int, tuple[Callable[[], object], Instruments]] = {}
        """A reference to each provider, and its instruments, by the provider's id."""
        # Each holds its meter, so that no other meter can have the id.
        self._by_meter: weakref.WeakValueDictionary[int, Instruments] = (
            weakref.WeakValueDictionary()
        )
        self._of_proxy: Instruments | None = None
        """The instruments of the API's proxy, until a global provider is set."""
        self._log = FailureLog()
        self._lock = threading.RLock()
        # Windows does not have it.
        getattr(os, "register_at_fork", lambda **_: None)(after_in_child=self.forked)

    def forked(self) -> None:
        """Replace, in the child of a fork, the locks that a thread of the parent may have held."""
        self._lock = threading.RLock()
        for instruments in list(self._by_meter.values()):
            for each in instruments.all():
                each.totals.forked()

    def get(
        self,
        provider: MeterProvider | None,
        failures: FailureLog | None = None,
        attributes: Mapping[str, Value] = _NONE,
        *,
        is_used: bool = True,
    ) -> tuple[object, Metrics]:
        """Return `provider`, or the global one, and what is recorded there with `attributes`.

        `is_used` is whether it is observed from now on; else it may be when something uses it.
        """
        current: MeterProvider | None = None
        with Fuse(failures, "the global meter provider"):
            current = metrics.get_meter_provider()
        chosen = current if provider is None else provider
        with self._lock:
            found = self._by_provider.get(id(chosen))
            if found is None or found[0]() is not chosen:
                made = self._made(chosen, failures, is_global=chosen is current)
                found = self._by_provider[id(chosen)] = self._reference(chosen), made
            recorded = self._recorded(found[1], attributes)
        if recorded is None:
            # A log handler may raise.
            with suppress(Exception):
                self._log.warn_once(
                    f"OTelConfig.attributes: {_MAX_SETS} sets have counts of their own in this"
                    f" process; on metrics the values of all further sets are {_semconv.OTHER}"
                )
            with self._lock:
                others = dict.fromkeys(attributes, _semconv.OTHER)
                recorded = found[1].find(others) or found[1].add(others)
        recorded.is_used = recorded.is_used or is_used
        return chosen, recorded

    def _recorded(
        self, instruments: Instruments, attributes: Mapping[str, Value]
    ) -> Metrics | None:
        """Return what is recorded with `attributes`; None if there are too many sets of them."""
        found = instruments.find(attributes)
        if found is None and attributes:
            sets = [made for each in self._by_meter.values() for made in each.all()]
            if len([made for made in sets if made.attributes]) >= _MAX_SETS:
                return None
        return found or instruments.add(attributes)

    def _made(
        self, provider: MeterProvider | None, failures: FailureLog | None, *, is_global: bool
    ) -> Instruments:
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
        made = self._by_meter.get(id(meter)) or Instruments(meter, source, failures)
        self._by_meter[id(meter)] = made
        if is_global and is_proxy(provider):
            self._of_proxy = made
        return made

    def _reference(self, provider: object) -> Callable[[], object]:
        key = id(provider)
        try:
            return weakref.ref(provider, lambda _: self._by_provider.pop(key, None))
        except TypeError:
            return lambda: provider


def is_proxy(provider: object) -> bool:
    """Whether `provider` is the API's, which stands in until a global one is set."""
    in_api = type(provider).__module__.startswith("opentelemetry.metrics.")
    return in_api and not isinstance(provider, metrics.NoOpMeterProvider)


metrics_of: Final = _Registry().get
