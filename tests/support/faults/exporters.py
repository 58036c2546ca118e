"""Exporters in trouble, behind the SDK's own batch span processor."""

import threading
from collections.abc import Callable, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from tests.support.telemetry import Telemetry

PATIENCE = 30


class Exporter(SpanExporter):
    """What every exporter here keeps: how many spans it was asked for, and which it delivered."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.delivered: list[ReadableSpan] = []
        self.refused = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.delivered += spans
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing to let go of."""


class Hanging(Exporter):
    """It does not answer until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        if not self.let_go.wait(PATIENCE):
            raise TimeoutError("nobody let it go")
        return super().export(spans)


class RaisingExporter(Exporter):
    """It raises each time."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.refused += len(spans)
        raise OSError("no route to host")


class Failing(Exporter):
    """It says each time that it failed."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.refused += len(spans)
        return SpanExportResult.FAILURE


class Slow(Exporter):
    """It takes its time for each span."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        threading.Event().wait(0.002 * len(spans))
        return super().export(spans)


EXPORTERS: dict[str, Callable[[], Exporter]] = {
    "hangs": Hanging,
    "raises": RaisingExporter,
    "fails": Failing,
    "is slow": Slow,
}


def exporting(exporter: SpanExporter, queue: int = 2048) -> tuple[Telemetry, BatchSpanProcessor]:
    """Telemetry that exports each span at once, as far as the exporter can follow."""
    telemetry = Telemetry()
    processor = BatchSpanProcessor(
        exporter, max_queue_size=queue, schedule_delay_millis=1, max_export_batch_size=1
    )
    telemetry.tracer_provider.add_span_processor(processor)
    return telemetry, processor
