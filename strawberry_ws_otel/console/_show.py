"""Adds a `ConversationExporter` to the SDK: by one line of code, or by the environment.

The batch processor of the SDK waits 5 seconds before it exports. To draw when a connection closes,
the exporter gets a batch processor of its own, which waits 0.2 seconds. It changes nothing for the
other exporters.
"""

import logging
from collections.abc import Sequence
from typing import IO, Final

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from rich.console import Console

from strawberry_ws_otel._semconv import SCOPE
from strawberry_ws_otel.console._exporter import EVERYTHING, ConversationExporter, Only

_logger = logging.getLogger(SCOPE)

DELAY: Final = 200
"""Milliseconds after which spans are exported, at most."""

SHOWN: Final[dict[int, tuple[object, ConversationExporter]]] = {}
"""The exporter of each provider that has one, by the id of the provider, which is kept alive.

A provider need not be hashable, and an application has one.
"""


def show(
    *, only: Only = EVERYTHING, console: Console | None = None, file: IO[str] | None = None
) -> None:
    """Draw each conversation of this process on the terminal, from now on.

    It adds a `ConversationExporter` to the global tracer provider of the SDK. If there is no
    provider yet, it sets one up. So call it after your own set-up, if you have one. Where there is
    no terminal and neither `console` nor `file` is given, it does nothing. A second call does not
    draw twice: it changes what the first one chose.

    Args:
        only: `"abnormal"` draws only conversations whose close is somebody's fault, and operations
            over HTTP that failed.
        console: where to draw. By default that is stderr if it is a terminal, else stdout if that
            is one.
        file: a text file to draw into, in place of a console.

    Raises:
        TypeError: an argument is of the wrong type, or both console and file are given.
        ValueError: `only` is none of its choices.
    """
    exporter = ConversationExporter(only=only, console=console, file=file)
    if exporter.console is None:
        return
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    if id(provider) in SHOWN:
        SHOWN[id(provider)][1].choose(only=only, console=console, file=file)
    elif not added(exporter, provider):
        _logger.warning(
            "No conversations are drawn: the global tracer provider, %s, is not of the"
            " OpenTelemetry SDK and takes no span processor",
            type(provider).__qualname__,
        )


def added(exporter: ConversationExporter, provider: object) -> bool:
    """Add an exporter to a provider with a processor of its own; return whether that is possible.

    Providers that wrap the SDK's, such as Logfire's, also take a processor.
    """
    add = getattr(provider, "add_span_processor", None)
    if not callable(add):
        return False
    add(BatchSpanProcessor(exporter, schedule_delay_millis=DELAY))
    SHOWN[id(provider)] = provider, exporter
    return True


class ConfiguredExporter(ConversationExporter):
    """What `OTEL_TRACES_EXPORTER=graphql_ws` makes where the SDK configures itself.

    The SDK sets the global provider, then makes this exporter, then gives it a batch processor that
    waits 5 seconds (`_init_tracing` of versions 1.30 to 1.45). So this exporter adds another one
    to the provider, which has a processor that waits 0.2 seconds, and draws nothing by itself. A
    configuration that sets the provider later makes it draw after `OTEL_BSP_SCHEDULE_DELAY`.
    """

    def __init__(
        self,
        *,
        only: Only = EVERYTHING,
        console: Console | None = None,
        file: IO[str] | None = None,
    ) -> None:
        super().__init__(only=only, console=console, file=file)
        other = ConversationExporter(only=only, console=console, file=file)
        provider = trace.get_tracer_provider()
        self._is_replaced = self.console is not None and added(other, provider)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Draw what these spans complete, unless another one does."""
        return SpanExportResult.SUCCESS if self._is_replaced else super().export(spans)
