"""Whatever of our own code fails, and however: the conversation is the same."""

from dataclasses import replace
from typing import Any, Final

import pytest
from strawberry.aiohttp.views import GraphQLView

from strawberry_ws_otel import (
    _connection,
    _operation,
    _operations,
    _propagation,
    _spans,
)
from strawberry_ws_otel._aiohttp import view as _view
from strawberry_ws_otel._aiohttp import websocket as _websocket
from strawberry_ws_otel._aiohttp.view import Handshake
from strawberry_ws_otel._aiohttp.websocket import Observer, Transport
from strawberry_ws_otel._close import Facts
from strawberry_ws_otel._connection import Connection, ConnectionInit
from strawberry_ws_otel._counts import Totals
from strawberry_ws_otel._current import Activation, Placement
from strawberry_ws_otel._log import CloseLog
from strawberry_ws_otel._metrics import Metrics
from strawberry_ws_otel._operation import Operation, SocketOperation
from strawberry_ws_otel._operations import Operations
from strawberry_ws_otel._propagation import ConnectionTrace, Parentage
from strawberry_ws_otel._protocol import Vocabulary
from strawberry_ws_otel._recording import Telemetry as Recording
from strawberry_ws_otel._spans import SpanProxy, SpanRecorder, Spans
from strawberry_ws_otel._strawberry import adapter as _adapter
from strawberry_ws_otel._strawberry import extension as _extension
from strawberry_ws_otel._strawberry.adapter import RecordingAdapter
from tests.support.cases import FEW, traced
from tests.support.event_loop import Run
from tests.support.faults.internal import Failures, names
from tests.support.hosting import Host, hosting
from tests.support.log import LogKeeper, is_internal
from tests.support.schema import HELLO, PARTIAL, TICKS, make_schema
from tests.support.telemetry import Telemetry
from tests.support.transcripts import Comparison, Transcripts
from tests.support.views import View, extension, instrumented

PLACES: Final[list[tuple[object, str]]] = [
    # The view.
    (Recording, "fuses"),
    (Recording, "is_current"),
    (Activation, "__init__"),
    (Activation, "end"),
    (Handshake, "__init__"),
    (Handshake, "_report_unseen_close"),
    (Handshake, "_transport_error"),
    (Handshake, "_was_alive"),
    (Handshake, "websocket_made"),
    (_view, "_attributes"),
    (_view, "_handshake"),
    (_view, "_refusal"),
    (_view, "current_request"),
    (_view, "get_current"),
    (_view, "is_being_cancelled"),
    # The socket.
    (Observer, "__init__"),
    (Observer, "_before_close"),
    (Observer, "_frame_received"),
    (Observer, "_is_aiohttp_closing"),
    (Observer, "_report_answer"),
    (Observer, "_report_close"),
    (Observer, "remove"),
    (Transport, "__init__"),
    (Transport, "alive"),
    (Transport, "writable"),
    (_websocket, "_parse_close"),
    (_websocket, "_received_close"),
    (_websocket, "_written_close"),
    (_websocket, "utf8_size"),
    # The adapter.
    (RecordingAdapter, "_otel_made"),
    (_adapter, "current_request"),
    # The connection.
    (CloseLog, "closed"),
    (Connection, "__init__"),
    (Connection, "_decide"),
    (Connection, "_decided"),
    (Connection, "_describe"),
    (Connection, "_forget"),
    (Connection, "_log"),
    (Connection, "_stop"),
    (Connection, "_summary"),
    (Connection, "_transport_failed"),
    (Connection, "_verdict_attributes"),
    (Connection, "accepted"),
    (Connection, "claim_own"),
    (Connection, "close_received"),
    (Connection, "close_redundant"),
    (Connection, "close_sent"),
    (Connection, "data_received"),
    (Connection, "disconnected"),
    (Connection, "error_received"),
    (Connection, "message_failed"),
    (Connection, "message_handled"),
    (Connection, "message_handling"),
    (Connection, "message_received"),
    (Connection, "message_sent"),
    (Connection, "message_unreadable"),
    (Connection, "operation_ran"),
    (Connection, "operation_running"),
    (Connection, "write_failed"),
    (ConnectionInit, "__init__"),
    (ConnectionInit, "end"),
    (ConnectionInit, "start"),
    (ConnectionTrace, "__init__"),
    (ConnectionTrace, "forget"),
    (ConnectionTrace, "init"),
    (ConnectionTrace, "link"),
    (ConnectionTrace, "operation"),
    (Facts, "forget"),
    (Parentage, "__new__"),
    (Placement, "__init__"),
    (Placement, "removed_from"),
    (Vocabulary, "read"),
    (Vocabulary, "classify_sent"),
    (_connection, "application_context"),
    (_connection, "take_turns"),
    (_connection, "of_request"),
    (_connection, "placement_of"),
    (_connection, "span_id"),
    (_propagation, "span_id"),
    # Operations.
    (Operation, "__init__"),
    (Operation, "delivered"),
    (Operation, "describe"),
    (Operation, "finish"),
    (Operation, "start"),
    (Operations, "begin"),
    (Operations, "connection_closed"),
    (Operations, "ended"),
    (Operations, "last_message_sent"),
    (Operations, "ran"),
    (Operations, "run"),
    (Operations, "sender"),
    (Operations, "stop"),
    (Operations, "to_handle"),
    (Operations, "to_run"),
    (SocketOperation, "__init__"),
    (SocketOperation, "errors"),
    (SocketOperation, "fire"),
    (_operation, "application_context"),
    (_operation, "document_attributes"),
    (_operation, "placement_of"),
    (_operations, "current"),
    (_operations, "is_being_cancelled"),
    # Spans and metrics.
    (Metrics, "record"),
    (SpanProxy, "__init__"),
    (SpanRecorder, "__init__"),
    (SpanRecorder, "_is_another_current"),
    (SpanRecorder, "link"),
    (SpanRecorder, "message"),
    (SpanRecorder, "numbered_message"),
    (SpanRecorder, "rename"),
    (Spans, "start"),
    (Totals, "begun"),
    (Totals, "ended"),
    (Totals, "frame_failed"),
    (Totals, "opened"),
    (Totals, "subscribed"),
    (_spans, "is_suppressed"),
    (_spans, "present"),
]

BEGINNINGS: Final[list[tuple[object, str]]] = [
    (Connection, "__init__"),
    (ConnectionTrace, "__init__"),
    (Handshake, "__init__"),
    (Parentage, "__new__"),
    (Placement, "__init__"),
    (Recording, "fuses"),
    (Recording, "is_current"),
    (SpanProxy, "__init__"),
    (SpanRecorder, "__init__"),
    (Spans, "start"),
    (Transport, "__init__"),
    (_connection, "of_request"),
    (_connection, "placement_of"),
    (_connection, "span_id"),
    (_spans, "is_suppressed"),
    (_view, "_handshake"),
    (_view, "get_current"),
]
"""Where a connection that fails has not begun, and is not counted."""

ENDINGS: Final[list[tuple[object, str]]] = [
    (ConnectionInit, "end"),
    (ConnectionTrace, "__init__"),
    (Metrics, "record"),
    (Operation, "finish"),
    (Operations, "connection_closed"),
    (Placement, "__init__"),
    (SocketOperation, "end"),
    (SpanProxy, "__init__"),
    (SpanRecorder, "__init__"),
    (Totals, "ended"),
    (_connection, "placement_of"),
    (_connection, "span_id"),
]
"""What ends spans, or would, and what fails when a connection's span has just been started."""

HTTP_PLACES: Final[list[tuple[object, str]]] = [
    (Operation, "__init__"),
    (Operation, "delivered"),
    (Operation, "describe"),
    (Operation, "errors"),
    (Operation, "finish"),
    (Operation, "phase"),
    (Operation, "start"),
    (Recording, "fuses"),
    (Recording, "is_current"),
    (Activation, "__init__"),
    (Activation, "end"),
    (_extension, "current_connection"),
    (_extension, "current_request"),
    (_extension, "error_attributes"),
    (_extension, "error_type"),
    (_extension, "get_current"),
    (_extension, "of_request"),
    (_extension, "placement_of"),
    (_operation, "document_attributes"),
]


VIEW_PLACES: Final[list[tuple[object, str]]] = [
    (Recording, "is_current"),
    (Activation, "__init__"),
    (Activation, "end"),
    (_view, "_handshake"),
    (_view, "current"),
]
"""What a view does with a request that is no handshake."""


@pytest.mark.internal_error
@pytest.mark.usefixtures("frozen_garbage")
@pytest.mark.parametrize(("owner", "name"), PLACES, ids=names(PLACES))
def test_a_failure_of_our_own_changes_nothing_over_a_websocket(  # noqa: PLR0913, PLR0917  # fixtures
    owner: object,
    name: str,
    bare: Transcripts,
    run: Run[Any],
    telemetry: Telemetry,
    library_log: LogKeeper,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    twins = Comparison(FEW, bare, run, caplog)
    failures = Failures()
    failures.replace(owner, name, monkeypatch)
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    # Each class of an extension has a log of its own, with its bound.
    assert twins.play(replace(arm, extensions=(extension(telemetry),))) == twins.bare
    assert failures.count
    assert any(map(is_internal, library_log.records))
    if (owner, name) not in ENDINGS:
        assert telemetry.span_counter.started == telemetry.span_counter.ended
    begun = 0 if (owner, name) in BEGINNINGS else len(FEW)
    with telemetry.at_rest():
        assert telemetry.total("websocket.server.active_connections") == 0
        assert telemetry.total("websocket.server.closes") == begun


async def answers(view: GraphQLView[Any, Any]) -> list[Any]:
    async with hosting(view) as host:
        posts = [await host.post({"query": document}) for document in (HELLO, PARTIAL, "{")]
        return [*posts, await stream(host)]


async def stream(host: Host) -> list[str]:
    accept = {"Accept": "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json"}
    async with host.session.post(host.url, json={"query": TICKS}, headers=accept) as response:
        return (await response.text()).split("--graphql")


@pytest.mark.internal_error
@pytest.mark.parametrize(("owner", "name"), HTTP_PLACES, ids=names(HTTP_PLACES))
async def test_a_failure_of_our_own_changes_nothing_over_http(
    owner: object,
    name: str,
    telemetry: Telemetry,
    library_log: LogKeeper,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bare = await answers(View(schema=make_schema()))
    failures = Failures()
    failures.replace(owner, name, monkeypatch)
    assert await answers(View(schema=make_schema(extension(telemetry)))) == bare
    assert failures.count
    assert any(map(is_internal, library_log.records))


@pytest.mark.internal_error
@pytest.mark.parametrize(("owner", "name"), VIEW_PLACES, ids=names(VIEW_PLACES))
async def test_a_failure_of_our_own_in_a_view_changes_nothing_over_http(
    owner: object,
    name: str,
    telemetry: Telemetry,
    library_log: LogKeeper,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bare = await answers(View(schema=make_schema()))
    failures = Failures()
    failures.replace(owner, name, monkeypatch)
    view = instrumented(telemetry)(schema=make_schema(extension(telemetry)))
    assert await answers(view) == bare
    assert failures.count
    assert any(map(is_internal, library_log.records))
