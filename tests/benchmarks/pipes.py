"""Where the telemetry of an arm goes: the providers for each way of tracing.

No span processor: what an exporter costs is the exporter's. A meter provider of the SDK has a
reader that nobody asks during a round, so histograms aggregate as they do in production.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from opentelemetry.metrics import MeterProvider, NoOpMeterProvider
from opentelemetry.trace import NoOpTracerProvider, TracerProvider


class Tracing(StrEnum):
    """What becomes of the spans of an arm."""

    SAMPLED = "sampled"
    UNSAMPLED = "not sampled"
    NO_OP = "no-op"
    NO_SDK = "no SDK"


@dataclass(frozen=True, slots=True)
class Pipe:
    """The providers of one arm; None stands for the global ones."""

    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None
    reader: Any = None
    """The SDK's `InMemoryMetricReader`, where there is one."""

    @property
    def options(self) -> dict[str, Any]:
        """The providers as options of `OTelConfig`."""
        return {"tracer_provider": self.tracer_provider, "meter_provider": self.meter_provider}


def _sdk(*, sampled: bool) -> Pipe:
    # One process of the benchmark has no SDK.
    from opentelemetry.sdk.metrics import MeterProvider as Meters  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider as Tracers  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON  # noqa: PLC0415

    reader = InMemoryMetricReader()
    return Pipe(
        Tracers(sampler=ALWAYS_ON if sampled else ALWAYS_OFF, shutdown_on_exit=False),
        Meters([reader], shutdown_on_exit=False),
        reader,
    )


PIPES: Final[Mapping[Tracing | None, Callable[[], Pipe]]] = {
    None: Pipe,
    Tracing.SAMPLED: lambda: _sdk(sampled=True),
    Tracing.UNSAMPLED: lambda: _sdk(sampled=False),
    Tracing.NO_OP: lambda: Pipe(NoOpTracerProvider(), NoOpMeterProvider()),
    Tracing.NO_SDK: Pipe,
}
