"""A socket that cannot be observed is served as always; its close is right or unknown."""

import logging
from typing import Any

import pytest

from strawberry_ws_otel import _semconv as name
from strawberry_ws_otel._aiohttp.view import Handshake
from strawberry_ws_otel._aiohttp.websocket import Observer
from strawberry_ws_otel._semconv import SPAN_CONNECTION as CONNECTION
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
    is_representative,
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
from tests.support.transcripts import Comparison, Transcripts, play

pytestmark = pytest.mark.usefixtures("frozen_garbage")


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


@rows(CASES, is_representative)
def test_the_verdict_is_right_or_unknown(case: Case, run: Run[Any], telemetry: Telemetry) -> None:
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    client = run(converse(on(Childless, case), arm)).client
    verdict = case.scenario.verdict
    assert_wire(client, verdict)
    span = connection_span(telemetry)
    recorded = attributes_of(span)
    redundant = len(events_of(span, name.EVENT_WEBSOCKET_REDUNDANT_CLOSE))
    assert redundant in {case.scenario.redundant, 0}
    assert is_right(recorded, verdict) or is_unknown(recorded)
    for attribute, true in (
        (name.CLOSE_CODE, verdict.code),
        (name.CLOSE_SENT_CODE, verdict.sent),
        (name.CLOSE_RECEIVED_CODE, verdict.received),
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
    ends = [attributes_of(span)[name.END_REASON] for span in telemetry.spans(*OPERATIONS)]
    # Which operation a close has refused is not known either.
    assert len(ends) == len(case.scenario.operations)
    for reason, right in zip(ends, case.scenario.operations, strict=True):
        assert reason in {right, "connection_closed" if right == "rejected" else right}


@pytest.mark.parametrize("refusal", REFUSING)
def test_it_is_said_once_for_all_connections_of_a_view(
    refusal: str, telemetry: Telemetry, library_log: LogKeeper, run: Run[Any]
) -> None:
    run(three_conversations(REFUSING[refusal], telemetry))
    [record] = [each for each in library_log.records if "cannot be observed" in each.getMessage()]
    assert record.levelno == logging.WARNING


async def three_conversations(socket_class: type[Socket], telemetry: Telemetry) -> None:
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    setup = Setup(socket_class=socket_class)
    async with serving(setup, arm.view_class, arm.extensions) as server:
        for _ in range(3):
            client = await server.connect(protocol=TRANSPORT, headers={})
            await steps(live, closes(1000), ends)(client, server)


@pytest.mark.internal_error
def test_a_log_that_raises_as_it_is_said_costs_no_telemetry(
    telemetry: Telemetry, run: Run[Any]
) -> None:
    with handling(RaisingHandler()):
        run(three_conversations(Childless, telemetry))
    outcomes = [attributes_of(span)[name.CLOSE_OUTCOME] for span in telemetry.spans(CONNECTION)]
    assert outcomes == ["other"] * 3


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
    (Handshake, "_report_unseen_close"),
    (Handshake, "websocket_made"),
    (Observer, "__init__"),
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
    twins = Comparison(cases, bare, run, caplog)
    failures = Failures()
    failures.replace(owner, place, monkeypatch)
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    assert twins.play(arm) == twins.bare
    assert failures.count
    assert any(map(is_internal, library_log.records))
    assert telemetry.span_counter.started == telemetry.span_counter.ended
    assert telemetry.total(name.METRIC_ACTIVE_CONNECTIONS) == 0
    assert telemetry.total(name.METRIC_CLOSES) == len(cases)
