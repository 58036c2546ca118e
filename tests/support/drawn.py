"""Spans of the SDK as the library records them, by hand, and what is drawn of them."""

from collections.abc import Mapping
from io import StringIO
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
from opentelemetry.trace import Link, SpanKind, StatusCode
from rich.console import Console, RenderableType

from strawberry_ws_otel._semconv import (
    CLOSE_CLEAN,
    CLOSE_CODE,
    CLOSE_FAULT,
    CLOSE_INITIATOR,
    CLOSE_OUTCOME,
    CONNECTION_ID,
    END_REASON,
    EVENT_MESSAGE_PREFIX,
    EVENT_WEBSOCKET_CLOSE,
    HTTP_ROUTE,
    IO_DIRECTION,
    LINK,
    MESSAGE_SEQUENCE,
    OPERATION_COUNT,
    OPERATION_ID,
    OPERATION_NAME,
    PROTOCOL_NAME,
    SCOPE,
    SEGMENT_CONTINUED,
    SEGMENT_NUMBER,
    SPAN_CONNECTION,
    SUBPROTOCOL,
)
from tests.support.telemetry import RESOURCE

BEGIN: Final = 1_700_000_000_000_000_000
MS: Final = 1_000_000
ID: Final = "00000000000000c1"

PROVIDER: Final = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)

ASKED_BY_RICH: Final = (
    *("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"),
    *("COLUMNS", "LINES", "COLORTERM"),
)
"""The variables that tell rich what a terminal can do. pytest-xdist sets one."""

NORMAL: Final = {
    CLOSE_OUTCOME: "normal",
    CLOSE_FAULT: "none",
    CLOSE_CODE: 1000,
    CLOSE_INITIATOR: "client",
    CLOSE_CLEAN: True,
}
LOST: Final = {
    CLOSE_OUTCOME: "connection_lost",
    CLOSE_FAULT: "network",
    CLOSE_CODE: 1006,
    CLOSE_INITIATOR: "none",
    CLOSE_CLEAN: False,
}


def begin(  # noqa: PLR0913  # what a span begins with
    name: str,
    attributes: Mapping[str, Any] | None = None,
    *,
    at: int = 0,
    parent: Span | None = None,
    kind: SpanKind = SpanKind.SERVER,
    scope: str = SCOPE,
    earlier: Span | None = None,
) -> Span:
    """Start a span `at` so many milliseconds."""
    context = trace.set_span_in_context(parent or trace.INVALID_SPAN)
    links = [Link(earlier.context, {LINK: "segment"})] if earlier else []
    span = PROVIDER.get_tracer(scope).start_span(
        name, context, kind, attributes, links, start_time=BEGIN + at * MS
    )
    assert isinstance(span, Span)
    return span


def ended(span: Span, at: int, attributes: Mapping[str, Any] | None = None) -> ReadableSpan:
    """End a span `at` so many milliseconds, with these attributes."""
    span.set_attributes(dict(attributes or {}))
    span.end(BEGIN + at * MS)
    return span


def continued(span: Span, at: int, attributes: Mapping[str, Any] | None = None) -> Span:
    """End a segment `at` so many milliseconds, with these attributes; start the next one."""
    begun = dict(span.attributes or {})
    number = begun.setdefault(SEGMENT_NUMBER, 0)
    assert isinstance(number, int)
    ended(span, at, {SEGMENT_NUMBER: number, **(attributes or {}), SEGMENT_CONTINUED: True})
    return begin(span.name, {**begun, SEGMENT_NUMBER: number + 1}, at=at, earlier=span)


def event(span: Span, name: str, at: int, **attributes: Any) -> None:
    """Add an event; a keyword is an attribute with `__` for each of its dots."""
    dotted: dict[str, Any] = {key.replace("__", "."): value for key, value in attributes.items()}
    span.add_event(name, dotted, BEGIN + at * MS)


def message(span: Span, type_: str, at: int, sequence: int = 1, *, sent: bool = False) -> None:
    """Add the event of a message."""
    direction = "transmit" if sent else "receive"
    attributes: dict[str, Any] = {IO_DIRECTION: direction, MESSAGE_SEQUENCE: sequence}
    span.add_event(f"{EVENT_MESSAGE_PREFIX}{type_}", attributes, BEGIN + at * MS)


def connection(id_: str = ID, attributes: Mapping[str, Any] | None = None, *, at: int = 0) -> Span:
    """Start the span of a connection."""
    basic = {
        CONNECTION_ID: id_,
        PROTOCOL_NAME: "websocket",
        SUBPROTOCOL: "graphql-transport-ws",
        HTTP_ROUTE: "/graphql",
    }
    return begin(SPAN_CONNECTION, {**basic, **(attributes or {})}, at=at)


def closed(
    span: Span, at: int = 1000, verdict: Mapping[str, Any] = NORMAL, operations: int = 1
) -> ReadableSpan:
    """End the span of a connection."""
    span.add_event(EVENT_WEBSOCKET_CLOSE, {CLOSE_CODE: verdict[CLOSE_CODE]}, BEGIN + (at - 1) * MS)
    if verdict[CLOSE_FAULT] != "none":
        span.set_status(StatusCode.ERROR)
    return ended(span, at, {**verdict, OPERATION_COUNT: operations})


def operation(number: int = 1, id_: str = ID, *, at: int = 10, parent: Span | None = None) -> Span:
    """Start the span of a client's operation."""
    attributes = {CONNECTION_ID: id_, OPERATION_ID: str(number), OPERATION_NAME: f"Op{number}"}
    return begin("subscription", attributes, at=at, parent=parent)


def completed(span: Span, at: int = 900, reason: str = "completed") -> ReadableSpan:
    """End the span of a client's operation."""
    return ended(span, at, {END_REASON: reason})


def inner(name: str, parent: Span, at: int = 20, scope: str = SCOPE) -> Span:
    """Start a span inside an operation."""
    return begin(name, at=at, parent=parent, kind=SpanKind.INTERNAL, scope=scope)


def plain(drawing: RenderableType, width: int = 100) -> str:
    """What is drawn, without colours."""
    file = StringIO()
    Console(file=file, width=width, color_system=None).print(drawing)
    return file.getvalue()
