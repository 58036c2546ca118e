"""For every way in which a connection can end, the telemetry matches what happened."""

from typing import Any

import pytest

from strawberry_ws_otel._semconv import METRIC_CLOSES, SPAN_CONNECTION
from tests.support.assertions import play_and_assert
from tests.support.cases import (
    CASES,
    REPRESENTATIVE,
    Case,
    converse,
    is_distinct,
    is_first_of_few,
    rows,
    traced,
)
from tests.support.event_loop import Run
from tests.support.log import LogKeeper
from tests.support.scenarios.model import FAULTS, Scenario, refused
from tests.support.scenarios.steps import TRANSPORT, handshake
from tests.support.telemetry import Telemetry


@rows(CASES, is_distinct)
def test_every_close_is_recorded_as_it_happened(
    case: Case, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    play_and_assert(case, run, telemetry, library_log)


@pytest.mark.parametrize("run", ["uvloop"], indirect=True)
@rows(REPRESENTATIVE, is_first_of_few)
def test_every_close_is_recorded_as_it_happened_on_uvloop(
    case: Case, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    play_and_assert(case, run, telemetry, library_log)


DURATIONS = [
    pytest.param({"segment_duration": 0.001}, id="1 ms"),
    pytest.param({"segment_duration": 0.001, "trace_shape": "nested"}, id="1 ms, nested"),
    pytest.param({"segment_duration": 0.05}, id="50 ms", marks=pytest.mark.matrix),
]


@pytest.mark.parametrize("options", DURATIONS)
@rows(CASES, is_first_of_few)
def test_every_close_is_recorded_as_it_happened_in_segments(
    case: Case,
    options: dict[str, Any],
    run: Run[Any],
    telemetry: Telemetry,
    library_log: LogKeeper,
) -> None:
    play_and_assert(case, run, telemetry, library_log, **options)


NO_HANDSHAKES = {
    "no upgrade": {"Upgrade": "h2c"},
    "another version": {"Sec-WebSocket-Version": "5"},
    "a short key": {"Sec-WebSocket-Key": "c2hvcnQ="},
    "no key": {"Sec-WebSocket-Key": ""},
}


@pytest.mark.parametrize("name", NO_HANDSHAKES)
def test_a_request_that_is_no_handshake_is_no_connection(
    name: str, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    scenario = Scenario(
        name=name,
        talk=handshake,
        verdict=refused("handshake_rejected", 400),
        headers=NO_HANDSHAKES[name],
    )
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    played = run(converse(Case(scenario, TRANSPORT, handler_cancellation=False), arm))
    assert played.client.status == 400
    assert not telemetry.spans(SPAN_CONNECTION)
    assert telemetry.total(METRIC_CLOSES) == 0
    assert not library_log.records


def test_the_table_names_every_outcome_and_no_scenario_twice() -> None:
    assert len(set(map(str, CASES))) == len(CASES)
    assert {case.scenario.verdict.outcome for case in CASES} == set(FAULTS)
