"""What one configuration records into: its tracer and its instruments."""

from strawberry_ws_otel._config import OTelConfig
from strawberry_ws_otel._metrics import metrics_of
from strawberry_ws_otel._spans import Spans


class Telemetry:
    """The spans and metrics of one `OTelConfig`."""

    __slots__ = ("config", "metrics", "spans", "told_of_unwatched")

    def __init__(self, config: OTelConfig) -> None:
        self.config = config
        self.spans = Spans(config)
        self.metrics = metrics_of(config.meter_provider)
        self.told_of_unwatched = False
        """Whether the log knows that sockets cannot be watched: once is enough."""
        self.metrics.tally.declare_ordinary(config.normal_outcomes)
