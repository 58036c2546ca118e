"""Holds what is said of one connection against what its scenario and its client know."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan

from strawberry_ws_otel import _semconv as name
from tests.attacks.soak.lie import Lie
from tests.attacks.soak.logged import told_record, true_records
from tests.attacks.soak.rounds import Visit
from tests.attacks.soak.spoken import spoken_types
from tests.support.assertions import (
    OPERATIONS,
    error_types,
    excesses,
    seen_traffic,
    subprotocol,
    told_connection,
    told_operation,
    told_traffic,
    true_connection,
    true_error_types,
    true_operations,
)
from tests.support.telemetry import attributes_of

KINDS: Final = {
    name.SPAN_CONNECTION: "connections",
    name.SPAN_CONNECTION_INIT: "inits",
    **dict.fromkeys(OPERATIONS, "operations"),
}
"""Where each span of a conversation belongs, by its name."""


@dataclass
class Conversation:
    """The spans that belong to one connection, in the order of their start, and its log records."""

    connections: list[ReadableSpan] = field(default_factory=list)
    inits: list[ReadableSpan] = field(default_factory=list)
    operations: list[ReadableSpan] = field(default_factory=list)
    records: list[logging.LogRecord] = field(default_factory=list)


def conversations(
    spans: Sequence[ReadableSpan], records: Sequence[logging.LogRecord]
) -> dict[str, Conversation]:
    """What is said of each connection, by its path."""
    of_id: defaultdict[Any, Conversation] = defaultdict(Conversation)
    for span in spans:
        if span.name in KINDS:
            conversation = of_id[attributes_of(span)[name.CONNECTION_ID]]
            getattr(conversation, KINDS[span.name]).append(span)
    for record in records:
        of_id[vars(record).get(name.CONNECTION_ID)].records.append(record)
    return {_path(conversation): conversation for conversation in of_id.values()}


def _path(conversation: Conversation) -> str:
    paths = {attributes_of(span)[name.URL_PATH] for span in conversation.connections}
    return " and ".join(sorted(paths))


def lies(visit: Visit, told: Conversation) -> Iterator[Lie]:
    """Everything in which what is said of a connection is not the truth about it."""
    if len(told.connections) != 1:
        yield Lie("spans of the connection", len(told.connections), 1)
        return
    for what, says, truth in _statements(visit, told):
        if says != truth:
            yield Lie(what, says, truth)


def _statements(visit: Visit, told: Conversation) -> Iterator[tuple[str, object, object]]:
    """What of which is told, what is told, and what is true."""
    [span] = told.connections
    case, client, scenario = visit.case, visit.client, visit.case.scenario
    assert client is not None
    yield "the connection", told_connection(span), true_connection(scenario)
    operations = [told_operation(one) for one in told.operations]
    yield "its operations", operations, true_operations(scenario, told.operations)
    yield "its subprotocol", attributes_of(span).get(name.SUBPROTOCOL), subprotocol(case)
    traffic, seen = told_traffic(span), seen_traffic(client, scenario)
    yield "its messages", {key: traffic[key] for key in seen}, seen
    heard = spoken_types(client)[: traffic["received"]]
    yield "messages received", traffic["received"], len(heard)
    yield "inits", len(told.inits), int("connection_init" in heard)
    errors, possible = error_types(span), true_error_types(scenario.verdict)
    yield "ERROR frames", errors, errors if errors in possible else possible
    records = [told_record(record) for record in told.records]
    yield "its log records", records, true_records(scenario.verdict, len(records))
    for one in (span, *told.inits, *told.operations):
        yield f"what is too long in {one.name}", excesses(one), []
