"""Spans on their way to a slow backend, and how many of them wait for it.

Apart, since it imports the SDK, which one process of the benchmark must not have.
"""

import time
from collections.abc import Sequence
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

EXPORT: Final = 0.1
"""Seconds that a batch takes."""


class SlowExporter(SpanExporter):
    """Takes its time for each batch."""

    def __init__(self) -> None:
        self.taken = 0
        """How many spans it got."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Wait as for a backend."""
        self.taken += len(spans)
        time.sleep(EXPORT)
        return SpanExportResult.SUCCESS


class Backlog(BatchSpanProcessor):
    """The processor of the SDK with its default settings, which counts."""

    def __init__(self) -> None:
        self._exporter = SlowExporter()
        self.forget()
        super().__init__(self._exporter)

    def forget(self) -> None:
        """Begin to count."""
        self._exporter.taken = self.ended = self.most = 0

    @property
    def exported(self) -> int:
        """How many spans the exporter got."""
        return self._exporter.taken

    def on_end(self, span: ReadableSpan) -> None:
        """Count a span and those that wait; one that is dropped waits for ever."""
        super().on_end(span)
        self.ended += 1
        self.most = max(self.most, self.ended - self.exported)
