"""What one `OTelConfig` records into: its tracer, its instruments and its log."""

from contextlib import suppress
from os import environ

from opentelemetry import metrics, trace

from strawberry_ws_otel._config import OTelConfig
from strawberry_ws_otel._fuse import FailureLog, Fuse, Fuses
from strawberry_ws_otel._log import CloseLog
from strawberry_ws_otel._metrics import is_proxy, metrics_of
from strawberry_ws_otel._spans import Spans


class Telemetry:
    """The spans, metrics and log records of one `OTelConfig`."""

    __slots__ = (
        "_failures",
        "_looks_for_providers",
        "_meter_provider",
        "config",
        "log",
        "metrics",
        "spans",
    )

    def __init__(
        self,
        config: OTelConfig,
        failures: FailureLog | None = None,
        log: CloseLog | None = None,
        *,
        is_used: bool = True,
    ) -> None:
        """Get the tracer and the instruments; the class of a view or an extension has both logs.

        `is_used` is whether metrics report what is counted already, which is 0.
        """
        self.config = config
        self._failures = failures
        attributes = config.attributes
        self._meter_provider, self.metrics = metrics_of(
            config.meter_provider, failures, attributes, is_used=is_used
        )
        self.spans = Spans(config.tracer_provider, config.message_events, failures, attributes)
        self.log = log or CloseLog()
        self.metrics.totals.declare_normal(config.normal_outcomes)
        self._looks_for_providers = config.setup_warnings

    def is_current(self, config: OTelConfig) -> bool:
        """Whether `config` is this one, and the global providers were not replaced since."""
        if config is not self.config:
            return False
        with Fuse(self._failures, "the global providers"):
            return (
                config.tracer_provider is not None
                or trace.get_tracer_provider() is self.spans.provider
            ) and (
                config.meter_provider is not None
                or metrics.get_meter_provider() is self._meter_provider
            )
        return True

    def warn_once(self, message: str, *arguments: object) -> None:
        """Log a WARNING once for each class."""
        # A log handler may raise.
        with suppress(Exception):
            (self._failures or FailureLog()).warn_once(message, *arguments)

    def connecting(self) -> None:
        """Warn, as the first client connects, if spans or metrics go nowhere by mistake.

        Until a global provider is set, the API has its own proxy as one. A provider that records
        nothing is a choice, and so is the variable that turns off the SDK. Spans without metrics
        are what some vendors take: metrics are missed only where there are no spans either.
        """
        if not self._looks_for_providers:
            return
        self._looks_for_providers = False
        config, tracers, meters = self.config, self.spans.provider, self._meter_provider
        is_unset = isinstance(tracers, trace.ProxyTracerProvider)
        if config.tracer_provider is None and is_unset and not _is_sdk_disabled():
            self.warn_once(
                "no tracer provider is set: spans go nowhere; call"
                " opentelemetry.trace.set_tracer_provider(), or set"
                " OTelConfig(tracer_provider=NoOpTracerProvider()) if you want no spans"
            )
        has_spans = not is_unset and not isinstance(tracers, trace.NoOpTracerProvider)
        is_unset = config.meter_provider is None and is_proxy(meters)
        if is_unset and not has_spans and not _is_sdk_disabled():
            self.warn_once(
                "no meter provider is set: metrics go nowhere; call"
                " opentelemetry.metrics.set_meter_provider(), or set"
                " OTelConfig(meter_provider=NoOpMeterProvider()) if you want no metrics"
            )

    def fuses(self) -> Fuses:
        """Return new fuses for a connection, or for an operation that has none."""
        return Fuses(self._failures, self.spans.source, self.metrics.source)


def _is_sdk_disabled() -> bool:
    """Whether the environment turns off the SDK, as the SDK reads it."""
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
