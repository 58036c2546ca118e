"""An application that does not know the library is recorded as with the mixin and the extension."""

from typing import Any

import pytest

from tests.support.assertions import assert_case
from tests.support.cases import BARE, CASES, REPRESENTATIVE, Case, converse, is_first, rows, traced
from tests.support.event_loop import Run
from tests.support.log import LogKeeper
from tests.support.telemetry import Telemetry
from tests.support.transcripts import play
from tests.support.zero_code import account, instrumented

pytestmark = pytest.mark.usefixtures("frozen_garbage")


def is_row_by_default(case: Case) -> bool:
    return case.is_first and case.scenario.representative


@rows(CASES, is_row_by_default)
def test_every_close_is_recorded_as_by_hand(
    case: Case,
    run: Run[Any],
    telemetry: Telemetry,
    library_log: LogKeeper,
) -> None:
    by_hand = Telemetry()
    run(converse(case, traced(by_hand.tracer_provider, by_hand.meter_provider)))
    library_log.records.clear()
    with instrumented(telemetry):
        client = run(converse(case)).client
    assert_case(case, client, telemetry, library_log)
    if not case.scenario.floods:
        assert account(telemetry) == account(by_hand)
    by_hand.shutdown()


@rows(REPRESENTATIVE, is_row_by_default)
def test_the_conversation_is_the_same_with_and_without_it(
    case: Case, run: Run[Any], telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    with instrumented(telemetry):
        instrumented_ = play(case, BARE, run, caplog)
    assert instrumented_ == play(case, BARE, run, caplog)


@pytest.mark.parametrize("run", [pytest.param("uvloop", marks=pytest.mark.matrix)], indirect=True)
@rows(REPRESENTATIVE, is_first)
def test_every_close_is_recorded_on_uvloop(
    case: Case, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    with instrumented(telemetry):
        client = run(converse(case)).client
    assert_case(case, client, telemetry, library_log)
