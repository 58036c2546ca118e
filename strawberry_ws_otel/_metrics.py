"""The only place where instruments exist.

Whatever happens for every message is a plain integer in the `Traffic` of its connection or the
`Subscription` of its operation, and is read when metrics are collected; only what happens once per
connection or operation is recorded at that moment. Gauges are derived from what is alive.

A second instrument of one name would be dropped by the SDK and its counts lost: hence one
`Metrics` for each meter provider, however many views there are.
"""

import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final
from weakref import WeakKeyDictionary

from opentelemetry import metrics
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.util.types import AttributeValue

from strawberry_ws_otel import _semconv
from strawberry_ws_otel._close import FAULTS, NAMED_CODES, Fault, Outcome, Verdict
from strawberry_ws_otel._failsafe import Fuse
from strawberry_ws_otel._protocol import MessageType
from strawberry_ws_otel._version import __version__

_LONG: Final = (0.01, 0.1, 1, 10, 60, 300, 900, 3600, 14400, 43200, 86400)
"""Buckets in seconds for what may live for a day."""

_SHORT: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Buckets in seconds for requests, as the HTTP conventions advise."""

_MAX_ERROR_TYPES: Final = 100
"""Distinct values of `error.type`; every further one is `_OTHER`."""

_Attributes = Mapping[str, AttributeValue]


class Traffic:
    """What one open connection has carried so far."""

    __slots__ = ("bytes_received", "bytes_sent", "messages", "subprotocol")

    def __init__(self, subprotocol: str | None) -> None:
        self.subprotocol = subprotocol
        self.messages: dict[MessageType, int] = {}
        self.bytes_received = 0
        self.bytes_sent = 0


class Subscription:
    """What one live subscription has delivered so far."""

    __slots__ = ("events",)

    def __init__(self) -> None:
        self.events = 0
        """Events without an error."""


class Metrics:
    """The instruments of one meter provider, and what they read."""

    def __init__(self, provider: MeterProvider | None) -> None:
        self._lock = threading.Lock()  # Readers run in a thread of their own.
        self._open: set[Traffic] = set()
        self._live: set[Subscription] = set()
        self._subprotocols: set[str | None] = set()
        self._messages: Counter[MessageType] = Counter()
        self._bytes: Counter[tuple[str | None, str]] = Counter()
        self._closes = Counter(dict.fromkeys(FAULTS.items(), 0))
        self._errors: Counter[str] = Counter()
        self._events: Counter[str | None] = Counter({None: 0})
        self._error_types: set[str] = set()
        self._histograms: dict[str, metrics.Histogram] = {}
        with Fuse():
            self._create(metrics.get_meter(_semconv.SCOPE, __version__, provider))

    def _create(self, meter: metrics.Meter) -> None:
        for create, name, unit, callback in (
            (
                meter.create_observable_up_down_counter,
                _semconv.METRIC_ACTIVE_CONNECTIONS,
                "{connection}",
                self._observe_connections,
            ),
            (
                meter.create_observable_up_down_counter,
                _semconv.METRIC_SUBSCRIPTIONS_ACTIVE,
                "{subscription}",
                self._observe_subscriptions,
            ),
            (
                meter.create_observable_counter,
                _semconv.METRIC_CLOSES,
                "{close}",
                self._observe_closes,
            ),
            (
                meter.create_observable_counter,
                _semconv.METRIC_MESSAGES,
                "{message}",
                self._observe_messages,
            ),
            (meter.create_observable_counter, _semconv.METRIC_IO, "By", self._observe_io),
            (
                meter.create_observable_counter,
                _semconv.METRIC_ERRORS,
                "{error}",
                self._observe_errors,
            ),
            (
                meter.create_observable_counter,
                _semconv.METRIC_SUBSCRIPTION_EVENTS,
                "{event}",
                self._observe_events,
            ),
        ):
            create(name, callbacks=[callback], unit=unit)
        self._histograms = {
            name: meter.create_histogram(
                name, unit="s", explicit_bucket_boundaries_advisory=buckets
            )
            for name, buckets in (
                (_semconv.METRIC_CONNECTION_DURATION, _LONG),
                (_semconv.METRIC_OPERATION_DURATION, _LONG),
                (_semconv.METRIC_INIT_DURATION, _SHORT),
                (_semconv.METRIC_REQUEST_DURATION, _SHORT),
            )
        }

    # --- What is told ------------------------------------------------------------------------

    def declare_ordinary(self, outcomes: Collection[str | int]) -> None:
        """Report the outcomes that an operator declared ordinary from 0 on as well."""
        for outcome in Outcome:
            if outcome in outcomes:
                self._closes[outcome, Fault.NONE] += 0

    def opened(self, subprotocol: str | None) -> Traffic:
        """Count an upgraded connection; what it carries is read from the result until `closed`."""
        traffic = Traffic(subprotocol)
        with self._lock:
            self._subprotocols.add(subprotocol)
            self._open.add(traffic)
        return traffic

    def closed(
        self,
        verdict: Verdict,
        traffic: Traffic | None,
        duration: float,
        *,
        fuse: Fuse,
        context: Context,
    ) -> None:
        """Count the end of a connection, or, without traffic, of a refused handshake."""
        with self._lock:
            self._closes[verdict.outcome, verdict.fault] += 1
            if traffic is not None:
                self._open.discard(traffic)
                self._messages.update(traffic.messages)
                self._bytes[traffic.subprotocol, "receive"] += traffic.bytes_received
                self._bytes[traffic.subprotocol, "transmit"] += traffic.bytes_sent
        code = verdict.code
        self._record(
            _semconv.METRIC_CONNECTION_DURATION,
            duration,
            {
                _semconv.SUBPROTOCOL: None if traffic is None else traffic.subprotocol,
                _semconv.CLOSE_CODE: None
                if code is None
                else str(code)
                if code in NAMED_CODES
                else _semconv.OTHER,
                _semconv.CLOSE_INITIATOR: verdict.initiator.value,
                _semconv.CLOSE_OUTCOME: verdict.outcome.value,
                _semconv.CLOSE_FAULT: verdict.fault.value,
                _semconv.ERROR_TYPE: self.error_type(verdict.error_type),
            },
            fuse=fuse,
            context=context,
        )

    def frame_failed(self, error_type: str) -> None:
        """Count an ERROR frame."""
        self._errors[self.error_type(error_type) or _semconv.OTHER] += 1

    def subscribed(self) -> Subscription:
        """Count a live subscription; its events are read from the result until `unsubscribed`."""
        subscription = Subscription()
        with self._lock:
            self._live.add(subscription)
        return subscription

    def event_failed(self, error_type: str) -> None:
        """Count a subscription event with an error."""
        self._events[self.error_type(error_type)] += 1

    def unsubscribed(self, subscription: Subscription) -> None:
        """Count the end of a subscription; only the first call counts."""
        with self._lock:
            if subscription in self._live:
                self._live.discard(subscription)
                self._events[None] += subscription.events

    def init_ended(
        self, duration: float, error_type: str | None, *, fuse: Fuse, context: Context
    ) -> None:
        """Record how long a connection init took."""
        attributes = {_semconv.ERROR_TYPE: self.error_type(error_type)}
        self._record(
            _semconv.METRIC_INIT_DURATION, duration, attributes, fuse=fuse, context=context
        )

    def request_ended(
        self,
        duration: float,
        operation_type: str,
        error_type: str | None,
        *,
        fuse: Fuse,
        context: Context,
    ) -> None:
        """Record how long a query or a mutation took, on whatever transport."""
        attributes = {
            _semconv.OPERATION_TYPE: operation_type,
            _semconv.ERROR_TYPE: self.error_type(error_type),
        }
        self._record(
            _semconv.METRIC_REQUEST_DURATION, duration, attributes, fuse=fuse, context=context
        )

    def operation_ended(
        self,
        duration: float,
        operation_type: str | None,
        end_reason: str,
        *,
        fuse: Fuse,
        context: Context,
    ) -> None:
        """Record how long an operation over a WebSocket lived."""
        attributes = {_semconv.OPERATION_TYPE: operation_type, _semconv.END_REASON: end_reason}
        self._record(
            _semconv.METRIC_OPERATION_DURATION, duration, attributes, fuse=fuse, context=context
        )

    def error_type(self, value: str | None) -> str | None:
        """Return `value` if it is one of the first 100 distinct ones, else `_OTHER`."""
        if value is None or value in self._error_types:
            return value
        if len(self._error_types) < _MAX_ERROR_TYPES:
            self._error_types.add(value)
            return value
        return _semconv.OTHER

    def _record(
        self,
        name: str,
        value: float,
        attributes: Mapping[str, AttributeValue | None],
        *,
        fuse: Fuse,
        context: Context,
    ) -> None:
        """Record into a histogram, in the context whose span an exemplar shall lead to."""
        histogram = self._histograms.get(name)
        if histogram is not None:
            with fuse:
                histogram.record(
                    value, {k: v for k, v in attributes.items() if v is not None}, context=context
                )

    # --- What is read ------------------------------------------------------------------------

    def _observe_connections(self, _options: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            counts = Counter(dict.fromkeys(self._subprotocols, 0))
            counts.update(traffic.subprotocol for traffic in self._open)
        return [Observation(count, _subprotocol(name)) for name, count in counts.items()]

    def _observe_subscriptions(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(len(self._live))]

    def _observe_closes(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(
                count,
                {_semconv.CLOSE_OUTCOME: outcome.value, _semconv.CLOSE_FAULT: fault.value},
            )
            for (outcome, fault), count in dict(self._closes).items()
        ]

    def _observe_messages(self, _options: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            counts = self._messages.copy()
            carried = [traffic.messages for traffic in self._open]
        for messages in carried:
            counts.update(messages.copy())
        return [
            Observation(
                count,
                {
                    **_subprotocol(message_type.subprotocol),
                    _semconv.IO_DIRECTION: message_type.direction,
                    _semconv.MESSAGE_TYPE: message_type.name,
                },
            )
            for message_type, count in counts.items()
        ]

    def _observe_io(self, _options: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            counts = self._bytes.copy()
            for traffic in self._open:
                counts[traffic.subprotocol, "receive"] += traffic.bytes_received
                counts[traffic.subprotocol, "transmit"] += traffic.bytes_sent
        return [
            Observation(count, {**_subprotocol(name), _semconv.IO_DIRECTION: direction})
            for (name, direction), count in counts.items()
        ]

    def _observe_errors(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(count, {_semconv.ERROR_TYPE: error_type})
            for error_type, count in dict(self._errors).items()
        ]

    def _observe_events(self, _options: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            counts = self._events.copy()
            counts[None] += sum(subscription.events for subscription in self._live)
        return [
            Observation(count, {} if error_type is None else {_semconv.ERROR_TYPE: error_type})
            for error_type, count in counts.items()
        ]


def _subprotocol(name: str | None) -> _Attributes:
    return {} if name is None else {_semconv.SUBPROTOCOL: name}


class _Registry:
    """One `Metrics` for each meter provider, which it does not keep alive."""

    def __init__(self) -> None:
        self._metrics: WeakKeyDictionary[MeterProvider, Metrics] = WeakKeyDictionary()
        self._global: Metrics | None = None

    def get(self, provider: MeterProvider | None) -> Metrics:
        """Return the metrics of `provider`; the global one may be passed explicitly."""
        current = metrics.get_meter_provider()
        if provider is None or provider is current:
            return self._of_global(current)
        if provider not in self._metrics:
            self._metrics[provider] = Metrics(provider)
        return self._metrics[provider]

    def _of_global(self, current: MeterProvider) -> Metrics:
        # Instruments made through the API's proxy before a provider was set are that provider's.
        found = self._metrics.get(current) or self._global or Metrics(None)
        self._global = self._metrics[current] = found
        return found


metrics_of: Final = _Registry().get
