"""Holds the telemetry of one connection against what really happened to it."""

import logging
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from strawberry_ws_otel import _semconv as name
from strawberry_ws_otel._close import NAMED_CODES
from tests.support.cases import Case, converse, traced
from tests.support.event_loop import Run
from tests.support.frames import Opcode
from tests.support.log import LogKeeper
from tests.support.raw_client import EOF, RESET, Client
from tests.support.scenarios.model import BOTH, CLOSED, FAULTS, Ending, Scenario, Verdict
from tests.support.segments import joined
from tests.support.server import PATH
from tests.support.telemetry import Telemetry, attributes_of, events_of, labels

OPERATIONS = ("subscription", "query", "mutation", name.SPAN_OPERATION)
FAILED = ("error", "rejected", "failed")
CLOSE_ATTRIBUTES = {
    name.CLOSE_CODE,
    name.CLOSE_REASON,
    name.CLOSE_INITIATOR,
    name.CLOSE_CLEAN,
    name.CLOSE_OUTCOME,
    name.CLOSE_FAULT,
    name.CLOSE_SENT_CODE,
    name.CLOSE_RECEIVED_CODE,
    name.ERROR_TYPE,
    name.HTTP_STATUS_CODE,
}
LENGTHS = {
    name.OPERATION_ID: 128,
    name.SUBSCRIPTION_ID: 16 + 1 + 128,
    name.OPERATION_NAME: 256,
    name.USER_AGENT: 256,
    name.CLOSE_REASON: 123,
}


def known(**attributes: Any) -> dict[str, Any]:
    """Those attributes that have a value, by the name of their constant in `_semconv`."""
    return {getattr(name, key): value for key, value in attributes.items() if value is not None}


IDENTITY = known(
    PROTOCOL_NAME="websocket",
    URL_PATH=PATH,
    HTTP_ROUTE=PATH,
    SERVER_ADDRESS="tests.local",
    SERVER_PORT=8000,
    CLIENT_ADDRESS="127.0.0.1",
)
TRANSMIT = known(IO_DIRECTION="transmit")
RECEIVE = known(IO_DIRECTION="receive")


def assert_case(case: Case, client: Client, telemetry: Telemetry, log: LogKeeper) -> None:
    """Hold everything that is said about the one conversation there was."""
    scenario = case.scenario
    assert_wire(client, scenario.verdict)
    assert_connection_span(telemetry, scenario)
    assert_operations(telemetry, scenario)
    assert_identity(telemetry, case)
    with telemetry.at_rest():
        assert_metrics(telemetry, case)
        assert_traffic(telemetry, client, scenario)
        assert_errors(telemetry, scenario.verdict)
    assert_log(log, scenario.verdict)
    assert_whole(telemetry)


def close_attributes(verdict: Verdict) -> dict[str, Any]:
    return known(
        CLOSE_CODE=verdict.code,
        CLOSE_REASON=verdict.reason or None,
        CLOSE_INITIATOR=verdict.initiator,
        CLOSE_CLEAN=verdict.clean,
        CLOSE_OUTCOME=verdict.outcome,
        CLOSE_FAULT=verdict.fault,
        CLOSE_SENT_CODE=verdict.sent,
        CLOSE_RECEIVED_CODE=verdict.received,
        ERROR_TYPE=verdict.error_type,
        HTTP_STATUS_CODE=verdict.http_status,
    )


def connection_span(telemetry: Telemetry) -> ReadableSpan:
    """The one there is; its segments are joined."""
    [span] = joined(telemetry.spans(name.SPAN_CONNECTION))
    return span


def assert_connection_span(telemetry: Telemetry, scenario: Scenario) -> None:
    assert recorded_connection(connection_span(telemetry)) == expected_connection(scenario)


def expected_connection(ending: Ending) -> dict[str, Any]:
    """What the span of a connection has to say of its end."""
    verdict = ending.verdict
    return {
        "close": close_attributes(verdict),
        "status": "ERROR" if verdict.abnormal else "UNSET",
        "interrupted": ending.interrupted,
        "operations": len(ending.operations),
        "exceptions": exceptions(verdict),
        "close events": close_events(verdict),
        "redundant closes": ending.redundant,
    }


def recorded_connection(span: ReadableSpan) -> dict[str, Any]:
    """What it does say."""
    attributes = attributes_of(span)
    return {
        "close": {key: attributes[key] for key in CLOSE_ATTRIBUTES & attributes.keys()},
        "status": span.status.status_code.name,
        "interrupted": attributes.get(name.OPERATION_INTERRUPTED_COUNT, 0),
        "operations": attributes.get(name.OPERATION_COUNT, 0),
        "exceptions": events_of(span, name.EVENT_EXCEPTION),
        "close events": events_of(span, name.EVENT_WEBSOCKET_CLOSE),
        "redundant closes": len(events_of(span, name.EVENT_WEBSOCKET_REDUNDANT_CLOSE)),
    }


def exceptions(verdict: Verdict) -> list[dict[str, Any]]:
    """The event of the exception that made the close a `server_error`, if one did."""
    if verdict.outcome != "server_error" or verdict.error is None:
        return []
    return [known(EXCEPTION_TYPE=verdict.error, EXCEPTION_MESSAGE=verdict.message)]


def close_events(verdict: Verdict) -> list[dict[str, Any]]:
    if verdict.code is None:
        return []
    return [
        known(
            CLOSE_CODE=verdict.code,
            CLOSE_REASON=verdict.reason or None,
            CLOSE_INITIATOR=verdict.initiator,
            CLOSE_OUTCOME=verdict.outcome,
        )
    ]


def subprotocol(case: Case) -> str | None:
    """The negotiated one, which there is after an upgrade only."""
    upgraded = case.scenario.verdict.code is not None
    return case.protocol if upgraded and case.protocol in BOTH else None


def assert_identity(telemetry: Telemetry, case: Case) -> None:
    """The connection says who it is, and each span of its conversation says so too."""
    attributes = attributes_of(connection_span(telemetry))
    connection_id = attributes[name.CONNECTION_ID]
    assert len(bytes.fromhex(connection_id)) == 8
    assert IDENTITY.items() <= attributes.items()
    assert attributes.get(name.SUBPROTOCOL) == subprotocol(case)
    agent = case.scenario.headers.get("User-Agent", "wire/1.0")
    assert attributes[name.USER_AGENT] == agent or not agent.isascii()
    for other in telemetry.spans(name.SPAN_CONNECTION_INIT, *OPERATIONS):
        assert attributes_of(other)[name.CONNECTION_ID] == connection_id


def assert_operations(telemetry: Telemetry, scenario: Scenario) -> None:
    spans = joined(telemetry.spans(*OPERATIONS))
    assert [recorded_operation(span) for span in spans] == expected_operations(scenario, spans)


def expected_operations(ending: Ending, spans: Sequence[ReadableSpan]) -> list[dict[str, Any]]:
    """What the spans of the operations have to say, given how many errors each counted."""
    errors = [attributes_of(span).get(name.ERROR_COUNT, 0) for span in spans]
    errors += [0] * len(ending.operations)
    return [
        _expected_operation(reason, ending.verdict, count)
        for reason, count in zip(ending.operations, errors, strict=False)
    ]


def _expected_operation(reason: str, verdict: Verdict, errors: int) -> dict[str, Any]:
    died = known(CLOSE_OUTCOME=verdict.outcome, CLOSE_CODE=verdict.code)
    failed = reason in FAILED or (reason == CLOSED and verdict.abnormal) or errors > 0
    return {
        "end": reason,
        "close": died if reason == CLOSED else {},
        "status": "ERROR" if failed else "UNSET",
        "has an error type": failed,
    }


def recorded_operation(span: ReadableSpan) -> dict[str, Any]:
    """What the span of an operation says of its end."""
    attributes = attributes_of(span)
    closing = CLOSE_ATTRIBUTES - {name.ERROR_TYPE} & attributes.keys()
    return {
        "end": attributes.get(name.END_REASON),
        "close": {key: attributes[key] for key in closing},
        "status": span.status.status_code.name,
        "has an error type": name.ERROR_TYPE in attributes,
    }


def assert_wire(client: Client, verdict: Verdict) -> None:
    """The table of scenarios is right itself: this is what the server put on the wire."""
    assert client.status in (verdict.http_status or 101, None)
    codes = [frame.close_code for frame in client.frames if frame.opcode == Opcode.CLOSE]
    assert codes == ([verdict.sent] if verdict.sent else []) or client.end == RESET


def assert_traffic(telemetry: Telemetry, client: Client, scenario: Scenario) -> None:
    """What was counted is what the client saw, where the client saw everything."""
    recorded = recorded_traffic(connection_span(telemetry))
    seen = client_traffic(client, scenario)
    assert recorded | seen == recorded
    assert telemetry.total(name.METRIC_MESSAGES, TRANSMIT) == recorded["sent"]
    assert telemetry.total(name.METRIC_MESSAGES, RECEIVE) == recorded["received"]
    if saw_everything(client, scenario):
        texts = [frame.text for frame in client.data_frames]
        assert telemetry.total(name.METRIC_IO, TRANSMIT) == sum(map(len, texts))


def recorded_traffic(span: ReadableSpan) -> dict[str, Any]:
    """What the span of a connection says of its messages."""
    attributes = attributes_of(span)
    return {
        "sent": attributes.get(name.MESSAGES_SENT, 0),
        "received": attributes.get(name.MESSAGES_RECEIVED, 0),
        "acknowledged": attributes.get(name.ACKNOWLEDGED, False),
    }


def saw_everything(client: Client, scenario: Scenario) -> bool:
    """Whether each message that the server sent reached the client, which read it."""
    return client.end == EOF and not scenario.floods


def client_traffic(client: Client, scenario: Scenario) -> dict[str, Any]:
    """What the client knows of that for certain."""
    seen: dict[str, Any] = {}
    if saw_everything(client, scenario):
        texts = [frame.text for frame in client.data_frames]
        seen["sent"] = len(texts)
        seen["acknowledged"] = any(b'"connection_ack"' in text for text in texts)
    if scenario.verdict.clean and scenario.verdict.initiator == "client":
        seen["received"] = client.sent
    return seen


def assert_errors(telemetry: Telemetry, verdict: Verdict) -> None:
    types = error_types(connection_span(telemetry))
    assert types in possible_error_types(verdict)
    assert telemetry.total(name.METRIC_ERRORS) == len(types)


def error_types(span: ReadableSpan) -> list[Any]:
    """The class of the exception of each ERROR frame of a connection."""
    return [event[name.EXCEPTION_TYPE] for event in events_of(span, name.EVENT_WEBSOCKET_ERROR)]


def possible_error_types(verdict: Verdict) -> list[list[Any]]:
    """What they may be; a cancellation may forestall the frame of a missed PONG."""
    frames = {"invalid_frame": [[verdict.error]], "heartbeat_timeout": [[verdict.error], []]}
    return frames.get(verdict.outcome, [[]]) if verdict.error else [[]]


def assert_metrics(telemetry: Telemetry, case: Case) -> None:
    assert_closes(telemetry, case.scenario.verdict)
    durations = telemetry.metrics()[name.METRIC_CONNECTION_DURATION]
    assert durations == {labels(expected_duration_attributes(case)): 1}


def assert_closes(telemetry: Telemetry, *verdicts: Verdict) -> None:
    """Each close is counted by its outcome, and nothing is alive."""
    outcomes = [verdict.outcome for verdict in verdicts]
    assert telemetry.metrics()[name.METRIC_CLOSES] == {
        labels(known(CLOSE_OUTCOME=outcome, CLOSE_FAULT=fault)): outcomes.count(outcome)
        for outcome, fault in FAULTS.items()
    }
    assert telemetry.total(name.METRIC_ACTIVE_CONNECTIONS) == 0
    assert telemetry.total(name.METRIC_SUBSCRIPTIONS_ACTIVE) == 0


def expected_duration_attributes(case: Case) -> dict[str, Any]:
    """What the duration of a connection is labelled with."""
    verdict = case.scenario.verdict
    return known(
        SUBPROTOCOL=subprotocol(case),
        CLOSE_CODE=verdict.code if verdict.code in NAMED_CODES else None,
        CLOSE_INITIATOR=verdict.initiator,
        CLOSE_OUTCOME=verdict.outcome,
        CLOSE_FAULT=verdict.fault,
        ERROR_TYPE=verdict.error_type,
    )


def assert_log(log: LogKeeper, *verdicts: Verdict) -> None:
    """One record about an abnormal close, none about a handshake refused with 4xx."""
    assert [record.levelno for record in log.closes] == [
        logging.ERROR if verdict.fault == "server" else logging.WARNING
        for verdict in verdicts
        if verdict.abnormal and verdict.outcome != "handshake_rejected"
    ]


def assert_whole(telemetry: Telemetry) -> None:
    """Each span ended once, below a parent that ended too; what clients sent is bounded."""
    assert telemetry.span_counter.started == telemetry.span_counter.ended
    assert set(telemetry.span_counter.ended.values()) <= {1}
    for span in telemetry.spans():
        assert span.parent is None or span.parent.span_id in telemetry.span_counter.ended
        assert excesses(span) == []


def excesses(span: ReadableSpan) -> list[str]:
    """The attributes of a span and its events that are longer than any may be."""
    return [
        key
        for attributes in (attributes_of(span), *events_of(span))
        for key, value in attributes.items()
        if isinstance(value, str)
        and (
            len(value) > LENGTHS.get(key, 512)
            or (key == name.CLOSE_REASON and len(value.encode()) > LENGTHS[key])
        )
    ]


def play_and_assert(
    case: Case, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper, **options: Any
) -> None:
    """Play a case, and compare everything that is recorded with what happened."""
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider, **options)
    assert_case(case, run(converse(case, arm)).client, telemetry, library_log)
