"""A small soak finds no mismatch, and reports each one that a test makes."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from strawberry_ws_otel._aiohttp import websocket
from strawberry_ws_otel._limits import utf8_size
from strawberry_ws_otel._log import CloseLog
from tests.attacks.soak.log_checks import Close, Closes
from tests.attacks.soak.run import Extent, Findings, Soak
from tests.support.cases import CASES, Case
from tests.support.log import handling
from tests.support.scenarios.model import by_client
from tests.support.scenarios.steps import TRANSPORT, closes, hears, live, steps
from tests.support.telemetry import Telemetry

pytestmark = pytest.mark.slow

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
ABNORMAL = "client closes 4499"


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.matrix)])
async def test_spans_and_metrics_match_what_happened(seed: int, telemetry: Telemetry) -> None:
    extent = Extent(seed=seed, connections=160, at_once=160)
    findings = await soak(extent, QUICK, telemetry)
    assert (findings.reports, findings.faults) == ([], 0)
    assert findings.played.total() == 160


async def test_segments_match_what_happened_and_sum_up_to_it(telemetry: Telemetry) -> None:
    extent = Extent(seed=3, connections=160, at_once=160, segment_duration=0.001)
    findings = await soak(extent, QUICK, telemetry)
    assert (findings.reports, findings.faults) == ([], 0)
    assert findings.segments > 160


async def test_the_same_seed_plays_the_same_scenarios(telemetry: Telemetry) -> None:
    first, second = [await soak(FEW, QUICK, Telemetry()) for _ in range(2)]
    assert first.played == second.played


# --- It finds what is not true ---------------------------------------------------------------


async def test_a_wrong_verdict_is_a_mismatch_with_both_sides(telemetry: Telemetry) -> None:
    case = case_of(CLOSES, verdict=by_client("normal", 1001))
    findings = await soak(FEW, [case], telemetry)
    assert (findings.lying, findings.missing) == ({CLOSES: 10}, {})
    report = findings.reports[0]
    parts = (str(case), "seed 1", "recorded: ", "expected: ", "1000", "1001")
    assert all(part in report for part in parts)


async def test_an_operation_of_which_nothing_is_recorded_is_a_mismatch(
    telemetry: Telemetry,
) -> None:
    case = case_of(CLOSES, operations=("connection_closed", "completed"))
    findings = await soak(FEW, [case], telemetry)
    assert findings.lying == {CLOSES: 10}


async def test_a_connection_without_a_span_is_missing() -> None:
    findings = await soak(FEW, [case_of(CLOSES)], Telemetry(sampler=ALWAYS_OFF))
    assert (findings.lying, findings.missing) == ({}, {CLOSES: 10})


async def test_a_metric_that_counts_what_never_was_is_a_mismatch(telemetry: Telemetry) -> None:
    await soak(FEW, [case_of(CLOSES)], telemetry)
    findings = await soak(FEW, [case_of(CLOSES)], telemetry)
    assert findings.lying == {}
    assert any("websocket.server.closes" in report for report in findings.reports)


async def test_a_conversation_that_went_otherwise_is_not_played(telemetry: Telemetry) -> None:
    case = case_of(CLOSES, talk=steps(live, closes(1000), hears("complete")))
    findings = await soak(FEW, [case], telemetry)
    assert (findings.lying, findings.unplayed) == ({}, {CLOSES: 10})
    assert "ended too early" in findings.reports[0]


async def test_bytes_that_were_never_sent_are_a_mismatch(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "utf8_size", lambda data: utf8_size(data) + 1)
    findings = await soak(FEW, [case_of(CLOSES)], telemetry)
    assert (findings.lying, findings.metrics) == ({}, 1)
    assert "websocket.server.io" in findings.reports[0]


class Changing(logging.Filter):
    """Does something to each record about a close, or leaves it out."""

    def __init__(self, change: Callable[[logging.LogRecord], bool]) -> None:
        super().__init__()
        self._change = change

    def filter(self, record: logging.LogRecord) -> bool:
        return self._change(record)


def raise_level(record: logging.LogRecord) -> bool:
    record.levelno = logging.CRITICAL
    return True


def mistake_code(record: logging.LogRecord) -> bool:
    vars(record)["websocket.close.code"] = 1000
    return True


def mistake_connection(record: logging.LogRecord) -> bool:
    record.args = ("0" * 16, *tuple(record.args or ())[1:])
    return True


@pytest.mark.parametrize("change", [raise_level, mistake_code, mistake_connection])
async def test_a_wrong_log_record_is_a_mismatch(
    change: Callable[[logging.LogRecord], bool], telemetry: Telemetry
) -> None:
    with handling(Changing(change)):
        findings = await soak(FEW, [case_of(ABNORMAL)], telemetry)
    assert findings.lying == {ABNORMAL: 10}
    assert "its log records" in findings.reports[0]


async def test_a_second_record_of_a_close_is_a_mismatch(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = CloseLog.closed

    def twice(*arguments: Any) -> None:
        once(*arguments)
        once(*arguments)

    monkeypatch.setattr(CloseLog, "closed", staticmethod(twice))
    findings = await soak(replace(FEW, connections=5), [case_of(ABNORMAL)], telemetry)
    assert findings.lying == {ABNORMAL: 5}


async def test_a_record_that_names_nobody_is_a_stray(telemetry: Telemetry) -> None:
    def rename(record: logging.LogRecord) -> bool:
        vars(record)["websocket.connection.id"] = "nobody"
        return True

    with handling(Changing(rename)):
        findings = await soak(FEW, [case_of(ABNORMAL)], telemetry)
    assert findings.strays > 0


async def test_a_close_without_a_record_is_a_mismatch_unless_there_were_too_many(
    telemetry: Telemetry,
) -> None:
    findings = await soak(Extent(connections=30, at_once=30), [case_of(ABNORMAL)], telemetry)
    assert (findings.reports, findings.faults) == ([], 0)
    with handling(Changing(lambda _record: False)):
        findings = await soak(FEW, [case_of(ABNORMAL)], Telemetry())
    assert (findings.lying, findings.log) == ({}, FEW.at_once)
    assert "Log: client_terminated: records, where there was room" in findings.reports[0]


def recorded_closes(*described: tuple[float, int | None]) -> Iterator[Close]:
    """A close at each of these times, whose record reports so many, or that has none."""
    for time, left_out in described:
        record = (
            None
            if left_out is None
            else logging.makeLogRecord({"websocket.close.left_out": left_out})
        )
        yield Close(time, record)


TEN = [(float(second), 0) for second in range(10)]
NONE = [(11.0, None), (12.0, None), (13.0, None)]


@pytest.mark.parametrize(
    ("described", "mismatches", "unrecorded"),
    [
        ([], [], 0),
        (TEN, [], 0),
        ([*TEN, *NONE], [], 3),
        ([*TEN, *NONE, (60.0, 3)], [], 0),
        ([*TEN, *NONE, (60.0, 3), (61.0, 0)], [], 0),
        ([*TEN, *NONE, (60.0, 2)], ["left out before a record"], 0),
        ([*TEN, *NONE, (60.0, 4)], ["left out before a record"], 0),
        ([*TEN, *NONE, (60.0, 3), (61.0, 3)], ["left out before a record"], 0),
        ([*TEN[1:], (11.0, None)], ["records, where there was room"], 1),
        ([*TEN, (100.0, None)], ["records, where there was room"], 1),
        ([*TEN, (10.0, 0)], ["records"], 0),
    ],
)
def test_what_the_log_leaves_out_is_held_to_the_bound(
    described: list[tuple[float, int | None]], mismatches: list[str], unrecorded: int
) -> None:
    group = Closes(list(recorded_closes(*described)))
    assert [mismatch.what for mismatch in group.mismatches()] == mismatches
    assert group.unrecorded == unrecorded
