"""The documented bound of everything that is recorded, as one check of spans, metrics and records.

Whatever is not in these tables is unknown, and fails.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan

from strawberry_ws_otel import _semconv as name
from strawberry_ws_otel._close import CloseCode, Fault, Initiator, Outcome
from strawberry_ws_otel._operation import EndReason
from strawberry_ws_otel._protocol import GRAPHQL_TRANSPORT_WS, GRAPHQL_WS, vocabulary
from tests.support.telemetry import Attributes

TEXTS: Final = {
    name.CONNECTION_ID: 16,
    name.URL_PATH: 256,
    name.HTTP_ROUTE: 256,
    name.SERVER_ADDRESS: 256,
    name.CLIENT_ADDRESS: 256,
    name.USER_AGENT: 256,
    name.CLOSE_REASON: 123,
    name.OPERATION_NAME: 256,
    name.DOCUMENT_HASH: len("sha256:") + 64,
    name.OPERATION_ID: 128,
    name.SUBSCRIPTION_ID: 16 + 1 + 128,
    name.ERROR_MESSAGE: 512,
    name.ERROR_PATH: 256,
    name.ERROR_LOCATIONS: 256,
    name.ERROR_CODE: 256,
    name.ERROR_TYPE: 256,
    name.EXCEPTION_TYPE: 256,
    name.EXCEPTION_MESSAGE: 512,
}
"""Characters of what an untrusted client may have a hand in."""

OPERATION_TYPES: Final = ("subscription", "query", "mutation")
MESSAGE_TYPES: Final = {
    message_type
    for protocol in (GRAPHQL_TRANSPORT_WS, GRAPHQL_WS, None)
    for words in (vocabulary(protocol).received, vocabulary(protocol).sent)
    for message_type in words
} | {name.OTHER}
CHOICES: Final[Mapping[str, frozenset[str]]] = {
    key: frozenset(map(str, choices))
    for key, choices in {
        name.PROTOCOL_NAME: ("websocket",),
        name.SUBPROTOCOL: (GRAPHQL_TRANSPORT_WS, GRAPHQL_WS),
        name.IO_DIRECTION: ("receive", "transmit"),
        name.OPERATION_TYPE: OPERATION_TYPES,
        name.MESSAGE_TYPE: MESSAGE_TYPES,
        name.END_REASON: EndReason,
        name.CLOSE_INITIATOR: Initiator,
        name.CLOSE_OUTCOME: Outcome,
        name.CLOSE_FAULT: Fault,
    }.items()
}
"""The values of what nobody else has a hand in."""

NUMBERS: Final = frozenset(
    {
        name.SERVER_PORT,
        name.HTTP_STATUS_CODE,
        name.CLOSE_CODE,
        name.CLOSE_SENT_CODE,
        name.CLOSE_RECEIVED_CODE,
        name.CLOSE_CLEAN,
        name.ACKNOWLEDGED,
        name.MESSAGES_RECEIVED,
        name.MESSAGES_SENT,
        name.OPERATION_COUNT,
        name.OPERATION_INTERRUPTED_COUNT,
        name.RECEIVE_IDLE_TIME,
        name.SEND_IDLE_TIME,
        name.SEND_BLOCKED_TIME,
        name.ERROR_COUNT,
        name.RESULTS,
        name.TIME_TO_FIRST_RESULT,
        name.MESSAGE_SEQUENCE,
        name.SEGMENT_NUMBER,
        name.SEGMENT_CONTINUED,
        name.DURATION,
        name.LOG_LEFT_OUT,
    }
)

SPAN_NAMES: Final = frozenset(
    {
        *(value for key, value in vars(name).items() if key.startswith("SPAN_")),
        *OPERATION_TYPES,
        *(f"{name.EVENT_MESSAGE_PREFIX}{message_type}" for message_type in MESSAGE_TYPES),
    }
)
EVENT_NAMES: Final = frozenset(
    {
        name.EVENT_EXCEPTION,
        name.EVENT_WEBSOCKET_ERROR,
        name.EVENT_WEBSOCKET_CLOSE,
        name.EVENT_WEBSOCKET_REDUNDANT_CLOSE,
        name.EVENT_GRAPHQL_ERROR,
        *(f"{name.EVENT_MESSAGE_PREFIX}{message_type}" for message_type in MESSAGE_TYPES),
    }
)
CLOSE_CODES: Final = frozenset({None, *CloseCode})
LABELS: Final = CHOICES.keys() | {name.CLOSE_CODE, name.ERROR_TYPE}

EVENTS: Final = 128
"""Events and links of one span that the SDK keeps, each: more is no bound of ours."""
DESCRIPTION: Final = 128
LINE: Final = 256
"""Characters of a line in the log."""
TRACE_STATE: Final = 8192
INTEGER: Final = 1 << 63
"""What no integer of the wire format reaches."""


def unbounded(attributes: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with attributes of a span, an event or a record."""
    for key, value in attributes.items():
        if key in TEXTS:
            fits = isinstance(value, str) and len(value) <= TEXTS[key] and _encodes(value)
            if key == name.CLOSE_REASON:
                fits = fits and len(value.encode()) <= TEXTS[key]
        elif key in CHOICES:
            fits = value in CHOICES[key]
        else:
            fits = key in NUMBERS and isinstance(value, int | float) and abs(value) < INTEGER
        if not fits:
            yield f"{key}={str(value)[:80]!r}"


def unbounded_span(span: ReadableSpan) -> Iterator[str]:
    """What is wrong with a span."""
    if span.name not in SPAN_NAMES:
        yield f"name {span.name[:80]!r}"
    if len(span.events) > EVENTS or len(span.links) > EVENTS:
        yield f"{len(span.events)} events, {len(span.links)} links"
    if span.dropped_events or span.dropped_links or span.dropped_attributes:
        yield "the SDK had to drop something"
    if len(span.status.description or "") > DESCRIPTION:
        yield f"description {(span.status.description or '')[:80]!r}"
    contexts = [span.context, span.parent, *(link.context for link in span.links)]
    for context in filter(None, contexts):
        if len(context.trace_state.to_header()) > TRACE_STATE:
            yield "trace state"
    yield from unbounded(span.attributes or {})
    for event in span.events:
        if event.name not in EVENT_NAMES:
            yield f"event {event.name[:80]!r}"
        yield from unbounded(event.attributes or {})


def unbounded_labels(metrics: Mapping[str, Mapping[Attributes, float]]) -> Iterator[str]:
    """What is wrong with the attributes of metrics."""
    for metric, points in metrics.items():
        for labels in map(dict, points):
            if not labels.keys() <= LABELS or labels.get(name.CLOSE_CODE) not in CLOSE_CODES:
                yield f"{metric} {labels}"
            yield from (f"{metric} {wrong}" for wrong in unbounded(labels))


def unbounded_record(record: logging.LogRecord) -> Iterator[str]:
    """What is wrong with a record of the log."""
    line = record.getMessage()
    if len(line) > LINE or "\n" in line or not _encodes(line):
        yield f"record {line[:80]!r}"
    yield from unbounded({key: value for key, value in vars(record).items() if "." in key})


def _encodes(text: str) -> bool:
    return text == text.encode("utf-8", "replace").decode()
