"""Holds what is said of one connection against what its scenario and its client know."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan

from strawberry_ws_otel import _semconv as name
from tests.attacks.soak.log_checks import expected_logs, recorded_log
from tests.attacks.soak.mismatch import Mismatch
from tests.attacks.soak.rounds import Visit
from tests.attacks.soak.sent_messages import spoken_types
from tests.support.assertions import (
    OPERATIONS,
    client_traffic,
    error_types,
    excesses,
    expected_connection,
    expected_operations,
    possible_error_types,
    recorded_connection,
    recorded_operation,
    recorded_traffic,
    subprotocol,
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


def mismatches(visit: Visit, recorded: Conversation) -> Iterator[Mismatch]:
    """Everything that was recorded of a connection and did not happen so."""
    if len(recorded.connections) != 1:
        yield Mismatch("spans of the connection", len(recorded.connections), 1)
        return
    for what, says, expected in _statements(visit, recorded):
        if says != expected:
            yield Mismatch(what, says, expected)


def _statements(visit: Visit, recorded: Conversation) -> Iterator[tuple[str, object, object]]:
    """What it is about, what was recorded, and what was expected."""
    [span] = recorded.connections
    case, client, scenario = visit.case, visit.client, visit.case.scenario
    assert client is not None
    yield "the connection", recorded_connection(span), expected_connection(scenario)
    operations = [recorded_operation(one) for one in recorded.operations]
    yield "its operations", operations, expected_operations(scenario, recorded.operations)
    yield "its subprotocol", attributes_of(span).get(name.SUBPROTOCOL), subprotocol(case)
    traffic, seen = recorded_traffic(span), client_traffic(client, scenario)
    yield "its messages", {key: traffic[key] for key in seen}, seen
    heard = spoken_types(client)[: traffic["received"]]
    yield "messages received", traffic["received"], len(heard)
    yield "inits", len(recorded.inits), int("connection_init" in heard)
    errors, possible = error_types(span), possible_error_types(scenario.verdict)
    yield "ERROR frames", errors, errors if errors in possible else possible
    records = [recorded_log(record) for record in recorded.records]
    yield "its log records", records, expected_logs(scenario.verdict, len(records))
    for one in (span, *recorded.inits, *recorded.operations):
        yield f"what is too long in {one.name}", excesses(one), []
