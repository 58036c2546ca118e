"""Whatever of the SDK breaks, and whenever: the conversation is the same."""

import pytest

from strawberry_ws_otel import _semconv as name
from tests.support.cases import Case
from tests.support.faults.conversations import OTHER_TALKS, TALKS
from tests.support.faults.sdk import FAULTS, Fault, nothing, struck
from tests.support.hosting import hosting, part
from tests.support.log import LogKeeper, is_internal
from tests.support.schema import make_schema
from tests.support.telemetry import Telemetry
from tests.support.transcripts import Comparison
from tests.support.views import config, extension, instrumented

pytestmark = pytest.mark.internal_error


@pytest.mark.parametrize(
    "talks",
    [pytest.param(TALKS, id=""), pytest.param(OTHER_TALKS, id="others", marks=pytest.mark.matrix)],
)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_sdk_changes_nothing_and_counts_stay_right(
    fault: str, talks: list[Case], twins: Comparison, library_log: LogKeeper
) -> None:
    for case in talks:
        library_log.records.clear()
        play_and_assert(FAULTS[fault], case, twins, library_log)


def play_and_assert(fault: Fault, case: Case, twins: Comparison, log: LogKeeper) -> None:
    telemetry = fault.make()
    arm, done = struck(fault, telemetry)
    bare = twins.bare_of(case)
    with fault.lasting():
        assert twins.once(case, arm) == bare
    if fault.strikes is not nothing and not done.yet:
        fault = FAULTS["nothing breaks"]  # nobody logged in
    assert sum(map(is_internal, log.records)) in fault.logged
    with telemetry.at_rest():
        assert_counted(case, telemetry)
    assert_spans(fault, case, telemetry)


def assert_counted(case: Case, telemetry: Telemetry) -> None:
    assert telemetry.total(name.METRIC_CLOSES) == 1
    assert (
        telemetry.total(name.METRIC_CLOSES, {name.CLOSE_OUTCOME: case.scenario.verdict.outcome})
        == 1
    )
    assert telemetry.total(name.METRIC_CONNECTION_DURATION) == 1
    assert telemetry.total(name.METRIC_ACTIVE_CONNECTIONS) == 0
    assert telemetry.total(name.METRIC_SUBSCRIPTIONS_ACTIVE) == 0


def assert_spans(fault: Fault, case: Case, telemetry: Telemetry) -> None:
    """No span that the SDK has given us is left without its end, or ended twice."""
    call_log, exported = telemetry.span_counter, len(telemetry.spans())
    assert set(call_log.ended.values()) <= {1}
    match fault.spans:
        case "all":
            assert call_log.started == call_log.ended
            assert exported == len(call_log.ended) > 0
        case "some":
            assert 0 < exported <= len(call_log.ended) <= len(call_log.started)
        case "none":
            assert exported == 0


async def test_providers_that_are_replaced_hold_for_the_connections_that_begin_then(
    telemetry: Telemetry,
) -> None:
    later = Telemetry()
    view = instrumented(telemetry)(schema=make_schema(extension(telemetry)))
    async with hosting(view) as host:
        before = await host.acknowledged()
        setattr(view, "otel_config", config(later))  # noqa: B010  # the mixin's, which mypy cannot see
        after = await host.acknowledged()
        active = [each.total(name.METRIC_ACTIVE_CONNECTIONS) for each in (telemetry, later)]
        await part(before)
        await part(after)
        await host.served()
    assert active == [1, 1]
    for each in (telemetry, later):
        assert len(each.spans(name.SPAN_CONNECTION)) == 1
        assert each.span_counter.started == each.span_counter.ended
        assert each.total(name.METRIC_CLOSES) == 1
        assert each.total(name.METRIC_ACTIVE_CONNECTIONS) == 0
    later.shutdown()
