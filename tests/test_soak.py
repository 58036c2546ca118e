"""A small soak finds nothing but the truth; and where something is not true, it says so."""

from dataclasses import replace

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from tests.arms import CASES, Case
from tests.scenarios.model import by_client
from tests.scenarios.steps import TRANSPORT, closes, hears, live, steps
from tests.soak.run import Extent, Findings, Soak
from tests.telemetry import Telemetry

QUICK = [case for case in CASES if "heartbeat" not in case.scenario.setup.socket]
"""Those that need not wait until a PONG is missed."""

FEW = Extent(seed=1, connections=10, at_once=5)


async def soak(extent: Extent, cases: list[Case], telemetry: Telemetry) -> Findings:
    return await Soak(extent, cases, telemetry).play(lambda _findings: None)


def case_of(name: str, **changes: object) -> Case:
    """A case of that scenario, changed."""
    [case] = [
        case
        for case in CASES
        if case.scenario.name == name and (case.protocol, case.handler_cancellation) == WHICH
    ]
    return replace(case, scenario=replace(case.scenario, **changes))  # type: ignore[arg-type]  # any


WHICH = TRANSPORT, False
CLOSES = "client closes 1000"


@pytest.mark.parametrize("seed", [1, 2])
async def test_spans_and_metrics_tell_nothing_but_the_truth(
    seed: int, telemetry: Telemetry
) -> None:
    extent = Extent(seed=seed, connections=160, at_once=160)
    findings = await soak(extent, QUICK, telemetry)
    assert (findings.reports, findings.faults) == ([], 0)
    assert findings.played.total() == 160


async def test_the_same_seed_plays_the_same_scenarios(telemetry: Telemetry) -> None:
    first, second = [await soak(FEW, QUICK, Telemetry()) for _ in range(2)]
    assert first.played == second.played


# --- It finds what is not true ---------------------------------------------------------------


async def test_a_verdict_that_is_not_true_is_a_lie_with_both_sides(telemetry: Telemetry) -> None:
    case = case_of(CLOSES, verdict=by_client("normal", 1001))
    findings = await soak(FEW, [case], telemetry)
    assert (findings.lying, findings.missing) == ({CLOSES: 10}, {})
    report = findings.reports[0]
    assert all(part in report for part in (str(case), "seed 1", "told: ", "true: ", "1000", "1001"))


async def test_an_operation_of_which_nothing_is_told_is_a_lie(telemetry: Telemetry) -> None:
    case = case_of(CLOSES, operations=("connection_closed", "completed"))
    findings = await soak(FEW, [case], telemetry)
    assert findings.lying == {CLOSES: 10}


async def test_a_connection_without_a_span_is_missing() -> None:
    findings = await soak(FEW, [case_of(CLOSES)], Telemetry(sampler=ALWAYS_OFF))
    assert (findings.lying, findings.missing) == ({}, {CLOSES: 10})


async def test_a_metric_that_counts_what_never_was_is_a_lie(telemetry: Telemetry) -> None:
    await soak(FEW, [case_of(CLOSES)], telemetry)
    findings = await soak(FEW, [case_of(CLOSES)], telemetry)
    assert findings.lying == {}
    assert any("websocket.server.closes" in report for report in findings.reports)


async def test_a_conversation_that_went_otherwise_is_not_played(telemetry: Telemetry) -> None:
    case = case_of(CLOSES, talk=steps(live, closes(1000), hears("complete")))
    findings = await soak(FEW, [case], telemetry)
    assert (findings.lying, findings.unplayed) == ({}, {CLOSES: 10})
    assert "ended too early" in findings.reports[0]
