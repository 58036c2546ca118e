"""What one configuration records into: its tracer, its instruments and its log."""

from strawberry_ws_otel._config import OTelConfig
from strawberry_ws_otel._log import CloseLog
from strawberry_ws_otel._metrics import metrics_of
from strawberry_ws_otel._spans import Spans


class Telemetry:
    """The spans, metrics and log records of one `OTelConfig`."""

    __slots__ = ("config", "log", "metrics", "spans", "told_of_unwatched")

    def __init__(self, config: OTelConfig) -> None:
        self.config = config
        # First of all: if it raises, each request tries again, and a tracer that fails is logged.
        self.metrics = metrics_of(config.meter_provider)
        self.spans = Spans(config)
        self.log = CloseLog()
        self.told_of_unwatched = False
        """Whether the log knows that sockets cannot be watched: once is enough."""
        self.metrics.tally.declare_ordinary(config.normal_outcomes)
