"""What the demo has no scenario for arrives in Jaeger, and its menu finds it."""

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from examples.operations import searches, servers
from examples.operations.closes import ABNORMAL
from examples.operations.jaeger import Jaeger
from examples.operations.ports import Ports, url
from examples.operations.traffic import EVERY_CLOSE, slow_login
from strawberry_ws_otel import _semconv
from strawberry_ws_otel._close import FAULTS, Fault
from tests.support.kit.exporting import ticking, until
from tests.support.kit.servers import Start

pytestmark = pytest.mark.operations


@pytest.fixture(scope="module")
def jaeger(start: Start, ports: Ports) -> Jaeger:
    start(servers.jaeger(ports))
    return Jaeger(url(ports.jaeger_query))


def trace_id(span: ReadableSpan) -> str:
    assert span.context
    return format(span.context.trace_id, "032x")


async def test_every_abnormal_outcome_is_found_among_the_abnormal_closes(
    jaeger: Jaeger, ports: Ports
) -> None:
    abnormal = {str(outcome) for outcome, fault in FAULTS.items() if fault is not Fault.NONE}
    assert ABNORMAL.keys() == abnormal
    async with ticking(url(ports.jaeger_otlp)) as ticker:
        await ticker.traffic.send(EVERY_CLOSE)

    async def outcomes() -> set[object]:
        traces = await jaeger.search(searches.saved()["Abnormal closes"])
        return {
            span.attributes[_semconv.CLOSE_OUTCOME] for spans in traces.values() for span in spans
        }

    assert ticker.troubles == []
    assert await until(outcomes, lambda found: found >= abnormal) == abnormal


async def test_a_slow_init_is_found_and_no_fast_one(jaeger: Jaeger, ports: Ports) -> None:
    async with ticking(url(ports.jaeger_otlp)) as ticker:
        await ticker.traffic.send({slow_login: 3})
    slow = {trace_id(one) for one in ticker.spans if one.name == _semconv.SPAN_CONNECTION_INIT}
    found = await until(
        lambda: jaeger.search(searches.saved()["Slow inits"]),
        lambda traces: len(traces) >= len(slow),
    )
    assert ticker.troubles == []
    assert len(slow) == 3
    assert found.keys() == slow
