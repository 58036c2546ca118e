"""Holds the telemetry of one connection against what really happened to it."""

import logging
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from strawberry_ws_otel import _semconv as name
from tests.arms import Case
from tests.conftest import LogKeeper
from tests.frames import Opcode
from tests.scenarios.model import BOTH, CLOSED, FAULTS, Scenario, Verdict
from tests.server import PATH
from tests.telemetry import Telemetry, attributes_of, events_of, labels
from tests.wire import EOF, RESET, Client

OPERATIONS = ("subscription", "query", "mutation", name.SPAN_OPERATION)
FAILED = ("error", "rejected", "failed")
CLOSE_ATTRIBUTES = {
    name.CLOSE_CODE,
    name.CLOSE_REASON,
    name.CLOSE_INITIATOR,
    name.CLOSE_CLEAN,
    name.CLOSE_OUTCOME,
    name.CLOSE_FAULT,
    name.CLOSE_CODE_SENT,
    name.CLOSE_CODE_RECEIVED,
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


def close_attributes(verdict: Verdict) -> dict[str, Any]:
    return known(
        CLOSE_CODE=verdict.code,
        CLOSE_REASON=verdict.reason or None,
        CLOSE_INITIATOR=verdict.initiator,
        CLOSE_CLEAN=verdict.clean,
        CLOSE_OUTCOME=verdict.outcome,
        CLOSE_FAULT=verdict.fault,
        CLOSE_CODE_SENT=verdict.sent,
        CLOSE_CODE_RECEIVED=verdict.received,
        ERROR_TYPE=verdict.error_type,
        HTTP_STATUS_CODE=verdict.http_status,
    )


def connection_span(telemetry: Telemetry) -> ReadableSpan:
    """The one there is."""
    [span] = telemetry.spans(name.SPAN_CONNECTION)
    return span


def assert_connection_span(telemetry: Telemetry, scenario: Scenario) -> None:
    verdict = scenario.verdict
    span = connection_span(telemetry)
    attributes = attributes_of(span)
    closing = {key: attributes[key] for key in CLOSE_ATTRIBUTES & attributes.keys()}
    assert closing == close_attributes(verdict)
    assert span.status.status_code.name == ("ERROR" if verdict.abnormal else "UNSET")
    assert attributes.get(name.OPERATIONS_INTERRUPTED, 0) == scenario.interrupted
    assert attributes.get(name.OPERATIONS, 0) == len(scenario.operations)
    assert events_of(span, name.EVENT_WEBSOCKET_CLOSE) == close_events(verdict)
    assert len(events_of(span, name.EVENT_WEBSOCKET_CLOSE_REDUNDANT)) == scenario.redundant


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
    spans = telemetry.spans(*OPERATIONS)
    assert tuple(attributes_of(span)[name.END_REASON] for span in spans) == scenario.operations
    for span in spans:
        assert_operation(span, scenario.verdict)


def assert_operation(span: ReadableSpan, verdict: Verdict) -> None:
    attributes = attributes_of(span)
    reason = attributes[name.END_REASON]
    died = known(CLOSE_OUTCOME=verdict.outcome, CLOSE_CODE=verdict.code)
    closing = {key: attributes[key] for key in CLOSE_ATTRIBUTES & attributes.keys()}
    closing.pop(name.ERROR_TYPE, None)
    assert closing == (died if reason == CLOSED else {})
    failed = (
        reason in FAILED
        or (reason == CLOSED and verdict.abnormal)
        or attributes.get(name.ERROR_COUNT, 0) > 0
    )
    assert span.status.status_code.name == ("ERROR" if failed else "UNSET")
    assert (name.ERROR_TYPE in attributes) == failed


def assert_wire(client: Client, verdict: Verdict) -> None:
    """The table itself tells the truth: this is what the server put on the wire."""
    assert client.status in (verdict.http_status or 101, None)
    codes = [frame.close_code for frame in client.frames if frame.opcode == Opcode.CLOSE]
    assert codes == ([verdict.sent] if verdict.sent else []) or client.end == RESET


def assert_traffic(telemetry: Telemetry, client: Client, scenario: Scenario) -> None:
    """What was counted is what the client saw, where the client saw everything."""
    attributes = attributes_of(connection_span(telemetry))
    sent = attributes.get(name.MESSAGES_SENT, 0)
    received = attributes.get(name.MESSAGES_RECEIVED, 0)
    assert telemetry.total(name.METRIC_MESSAGES, TRANSMIT) == sent
    assert telemetry.total(name.METRIC_MESSAGES, RECEIVE) == received
    if client.end == EOF and not scenario.floods:
        texts = [frame.text for frame in client.data_frames]
        assert sent == len(texts)
        assert telemetry.total(name.METRIC_IO, TRANSMIT) == sum(map(len, texts))
        acknowledged = any(b'"connection_ack"' in text for text in texts)
        assert attributes.get(name.ACKNOWLEDGED, False) == acknowledged
    if scenario.verdict.clean and scenario.verdict.initiator == "client":
        assert received == client.sent


def assert_errors(telemetry: Telemetry, verdict: Verdict) -> None:
    """One event and one count for an ERROR frame; a cancellation may forestall a missed PONG's."""
    events = events_of(connection_span(telemetry), name.EVENT_WEBSOCKET_ERROR)
    types = [event[name.EXCEPTION_TYPE] for event in events]
    frames = verdict.outcome in ("invalid_frame", "heartbeat_timeout") and verdict.error
    assert types == ([verdict.error] if frames else []) or verdict.outcome == "heartbeat_timeout"
    assert telemetry.total(name.METRIC_ERRORS) == len(types)


def assert_metrics(telemetry: Telemetry, case: Case) -> None:
    metrics, verdict = telemetry.metrics(), case.scenario.verdict
    assert metrics[name.METRIC_CLOSES] == {
        labels(known(CLOSE_OUTCOME=outcome, CLOSE_FAULT=fault)): outcome == verdict.outcome
        for outcome, fault in FAULTS.items()
    }
    assert telemetry.total(name.METRIC_ACTIVE_CONNECTIONS) == 0
    assert telemetry.total(name.METRIC_SUBSCRIPTIONS_ACTIVE) == 0
    [(duration, count)] = metrics[name.METRIC_CONNECTION_DURATION].items()
    attributes: dict[str, Any] = dict(duration)
    assert count == 1
    assert attributes.pop(name.SUBPROTOCOL, None) == subprotocol(case)
    code = None if verdict.code is None else str(verdict.code)
    assert attributes.pop(name.CLOSE_CODE, None) in (code, name.OTHER if code else None)
    assert attributes == known(
        CLOSE_INITIATOR=verdict.initiator,
        CLOSE_OUTCOME=verdict.outcome,
        CLOSE_FAULT=verdict.fault,
        ERROR_TYPE=verdict.error_type,
    )


def assert_log(log: LogKeeper, verdict: Verdict) -> None:
    """One record about an abnormal close, none about a handshake refused with 4xx."""
    silent = not verdict.abnormal or verdict.outcome == "handshake_rejected"
    level = logging.ERROR if verdict.fault == "server" else logging.WARNING
    assert [record.levelno for record in log.closes] == ([] if silent else [level])


def assert_whole(telemetry: Telemetry) -> None:
    """Each span ended once, below a parent that ended too; what strangers sent is bounded."""
    assert telemetry.ledger.started == telemetry.ledger.ended
    assert set(telemetry.ledger.ended.values()) <= {1}
    spans = telemetry.spans()
    for span in spans:
        assert span.parent is None or span.parent.span_id in telemetry.ledger.ended
        for attributes in (attributes_of(span), *events_of(span)):
            for key, value in attributes.items():
                if isinstance(value, str):
                    assert len(value.encode()) <= 4 * LENGTHS.get(key, 512)
                    assert len(value) <= LENGTHS.get(key, 512)
        assert len(attributes_of(span).get(name.CLOSE_REASON, "").encode()) <= 123
