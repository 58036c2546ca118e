"""The conversation is the same with and without the library: each byte, each close, each task."""

from collections import Counter
from typing import Any

import pytest

from strawberry_ws_otel import _semconv
from tests.support.broken_api import PIPES, broken_propagator
from tests.support.cases import (
    BARE,
    CASES,
    FEW,
    ONE_EACH,
    REPRESENTATIVE,
    Case,
    is_distinct_or_representative,
    is_first_of_few,
    is_of_few,
    rows,
    traced,
)
from tests.support.event_loop import Run
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.transcripts import compare, play

pytestmark = pytest.mark.usefixtures("frozen_garbage")


@rows(CASES, is_distinct_or_representative)
def test_the_conversation_is_the_same_with_and_without_the_library(
    case: Case, run: Run[Any], telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    compare(case, run, telemetry, caplog)


@rows(REPRESENTATIVE, is_first_of_few)
def test_the_conversation_is_the_same_with_a_span_for_each_message(
    case: Case, run: Run[Any], telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    compare(case, run, telemetry, caplog, message_spans=True)
    spans = [attributes_of(span) for span in telemetry.spans()]
    recorded = Counter(
        each[_semconv.IO_DIRECTION] for each in spans if _semconv.MESSAGE_SEQUENCE in each
    )
    [(received, sent)] = [
        (each[_semconv.MESSAGES_RECEIVED], each[_semconv.MESSAGES_SENT])
        for each in spans
        if _semconv.MESSAGES_SENT in each
    ]
    # What could not be sent any more has a span, too.
    assert recorded["receive"] == received
    assert recorded["transmit"] >= sent


@pytest.mark.parametrize("run", ["uvloop"], indirect=True)
@rows(REPRESENTATIVE, is_first_of_few)
def test_the_conversation_is_the_same_on_uvloop(
    case: Case, run: Run[Any], telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    compare(case, run, telemetry, caplog)


@rows(REPRESENTATIVE, is_first_of_few)
def test_the_conversation_is_the_same_in_segments(
    case: Case, run: Run[Any], telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    compare(case, run, telemetry, caplog, segment_duration=0.001)


@pytest.mark.internal_error
@pytest.mark.parametrize("pipe", PIPES)
@rows([*FEW, *(case for case in ONE_EACH if not is_of_few(case))], is_of_few)
def test_a_broken_pipe_changes_nothing_for_the_client(
    case: Case, pipe: str, run: Run[Any], caplog: pytest.LogCaptureFixture
) -> None:
    broken = PIPES[pipe]()
    arm = traced(broken.tracer_provider, broken.meter_provider)
    assert play(case, arm, run, caplog) == play(case, BARE, run, caplog)
    assert broken.call_log.calls


@pytest.mark.internal_error
@rows(ONE_EACH, is_of_few)
def test_a_broken_propagator_changes_nothing_for_the_client(
    case: Case, run: Run[Any], telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    bare = play(case, BARE, run, caplog)
    with broken_propagator() as call_log:
        arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
        assert play(case, arm, run, caplog) == bare
    assert call_log.calls
