"""A socket that cannot be observed is served as always; its close is right or unknown."""

import logging
from typing import Any

import pytest

from strawberry_ws_otel import _semconv as name
from strawberry_ws_otel._semconv import SPAN_CONNECTION as CONNECTION
from strawberry_ws_otel._socket import RecordedSocket
from strawberry_ws_otel._unwatched import Unwatched
from tests.support.assertions import (
    OPERATIONS,
    assert_identity,
    assert_whole,
    assert_wire,
    connection_span,
)
from tests.support.cases import (
    BARE,
    CASES,
    FEW,
    Case,
    converse,
    few_or_one_each,
    is_first,
    on,
    rows,
    traced,
)
from tests.support.event_loop import Run
from tests.support.faults.internal import Failures, names
from tests.support.faults.unobservable_sockets import REFUSING, Childless, attributes_past
from tests.support.log import LogKeeper, RaisingHandler, handling, is_internal
from tests.support.scenarios.model import FAULTS, Scenario, Verdict, by_client
from tests.support.scenarios.steps import TRANSPORT, closes, ends, live, steps
from tests.support.server import Server, Setup, Socket, serving
from tests.support.telemetry import Telemetry, attributes_of, events_of, labels
from tests.support.transcripts import Transcripts, Twins, play

pytestmark = pytest.mark.usefixtures("frozen_garbage")


HOST_CLOSES = {
    "init_timeout",
    "unauthorized",
    "forbidden",
    "subprotocol_rejected",
    "duplicate_operation",
    "duplicate_init",
    "handshake_rejected",
    "invalid_message",
    "server_error",
    "server_shutdown",
    "normal",
}
"""What the host does through its adapter or its view, or a client as a client does."""


def closes_past_the_host(scenario: Scenario) -> bool:
    """Whether the application closes the socket itself, which nobody sees."""
    return scenario.name.startswith(("application closes", "server shuts down and says goodbye"))


@few_or_one_each
@pytest.mark.parametrize("refusal", REFUSING)
def test_the_conversation_is_the_same_with_and_without_the_library(  # fixtures
    refusal: str,
    cases: list[Case],
    run: Run[Any],
    telemetry: Telemetry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    cases = [on(REFUSING[refusal], case) for case in cases]
    recorded = {str(case): play(case, arm, run, caplog) for case in cases}
    assert recorded == {str(case): play(case, BARE, run, caplog) for case in cases}


def is_right(recorded: dict[str, Any], verdict: Verdict) -> bool:
    """Whether the recorded outcome is the one that happened."""
    outcome: str = recorded[name.CLOSE_OUTCOME]
    return outcome == verdict.outcome


def is_unknown(recorded: dict[str, Any]) -> bool:
    """Whether it is said that nobody knows."""
    said = (
        recorded[name.CLOSE_OUTCOME],
        recorded[name.CLOSE_FAULT],
        recorded[name.CLOSE_INITIATOR],
    )
    return said == ("other", "unknown", "unknown")


@rows(CASES, is_first)
def test_the_verdict_is_right_or_unknown(case: Case, run: Run[Any], telemetry: Telemetry) -> None:
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    client = run(converse(on(Childless, case), arm)).client
    verdict = case.scenario.verdict
    assert_wire(client, verdict)
    span = connection_span(telemetry)
    recorded = attributes_of(span)
    redundant = len(events_of(span, name.EVENT_WEBSOCKET_CLOSE_REDUNDANT))
    assert redundant in {case.scenario.redundant, 0}
    if verdict.outcome in HOST_CLOSES and not closes_past_the_host(case.scenario):
        assert is_right(recorded, verdict)
    assert is_right(recorded, verdict) or is_unknown(recorded)
    for attribute, true in (
        (name.CLOSE_CODE, verdict.code),
        (name.CLOSE_CODE_SENT, verdict.sent),
        (name.CLOSE_CODE_RECEIVED, verdict.received),
    ):
        assert recorded.get(attribute) in {true, None}
    assert recorded[name.CLOSE_INITIATOR] in {verdict.initiator, "unknown"}
    assert verdict.clean or not recorded[name.CLOSE_CLEAN]
    assert_identity(telemetry, case)
    assert_whole(telemetry)
    assert telemetry.total(name.METRIC_ACTIVE_CONNECTIONS) == 0
    assert telemetry.total(name.METRIC_SUBSCRIPTIONS_ACTIVE) == 0
    outcome = recorded[name.CLOSE_OUTCOME]
    assert telemetry.metrics()[name.METRIC_CLOSES] == {
        labels({name.CLOSE_OUTCOME: each, name.CLOSE_FAULT: fault}): each == outcome
        for each, fault in FAULTS.items()
    }
    ends = tuple(attributes_of(span)[name.END_REASON] for span in telemetry.spans(*OPERATIONS))
    assert ends == case.scenario.operations


@pytest.mark.parametrize("refusal", REFUSING)
def test_it_is_said_once_for_all_connections_of_a_view(
    refusal: str, telemetry: Telemetry, library_log: LogKeeper, run: Run[Any]
) -> None:
    run(three_conversations(REFUSING[refusal], telemetry))
    [record] = library_log.records
    assert record.levelno == logging.WARNING
    assert "cannot be watched" in record.getMessage()


async def three_conversations(socket_class: type[Socket], telemetry: Telemetry) -> None:
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    setup = Setup(socket_class=socket_class)
    async with serving(setup, arm.view_class, arm.extensions) as server:
        for _ in range(3):
            client = await server.connect(protocol=TRANSPORT, headers={})
            await steps(live, closes(1000), ends)(client, server)


def test_a_log_that_raises_as_it_is_said_costs_no_telemetry(
    telemetry: Telemetry, run: Run[Any]
) -> None:
    with handling(RaisingHandler()):
        run(three_conversations(Childless, telemetry))
    outcomes = [attributes_of(span)[name.CLOSE_OUTCOME] for span in telemetry.spans(CONNECTION)]
    assert outcomes == ["normal"] * 3


@pytest.mark.parametrize("refusal", REFUSING)
def test_nothing_of_it_is_changed(refusal: str, telemetry: Telemetry, run: Run[Any]) -> None:
    socket_class = REFUSING[refusal]
    found: list[tuple[type, set[str]]] = []

    async def look(server: Server) -> None:
        socket = server.socket
        found.append((type(socket), {key for key in attributes_past(socket) if "otel" in key}))

    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    case = Case(
        Scenario(
            name=refusal,
            talk=steps(live, closes(1000)),
            verdict=by_client("normal", 1000),
            setup=Setup(socket_class=socket_class, context=look),
        ),
        TRANSPORT,
        handler_cancellation=False,
    )
    run(converse(case, arm))
    assert found == [(socket_class, set())]


PLACES: list[tuple[object, str]] = [
    (RecordedSocket, "_say_unwatched"),
    (Unwatched, "__init__"),
    (Unwatched, "answered"),
    (Unwatched, "close_called"),
    (Unwatched, "closed"),
    (Unwatched, "frame_received"),
    (Unwatched, "reading_failed"),
    (Unwatched, "settle"),
    (Unwatched, "writable"),
]

PARSE = "Failed to parse message"
ANSWERED = next(case for case in CASES if case.scenario.verdict.reason == PARSE)
"""The host closes while nobody reads, and the client answers."""


@pytest.mark.internal_error
@pytest.mark.parametrize(("owner", "place"), PLACES, ids=names(PLACES))
def test_a_failure_of_our_own_changes_nothing_either(  # noqa: PLR0913, PLR0917  # fixtures
    owner: object,
    place: str,
    bare: Transcripts,
    run: Run[Any],
    telemetry: Telemetry,
    library_log: LogKeeper,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cases = [on(Childless, case) for case in (*FEW, ANSWERED)]
    twins = Twins(cases, bare, run, caplog)
    failures = Failures()
    failures.replace(owner, place, monkeypatch)
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    assert twins.play(arm) == twins.bare
    assert failures.count
    assert any(map(is_internal, library_log.records))
    assert telemetry.ledger.started == telemetry.ledger.ended
    assert telemetry.total(name.METRIC_ACTIVE_CONNECTIONS) == 0
    assert telemetry.total(name.METRIC_CLOSES) == len(cases)
