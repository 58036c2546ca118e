"""Every query of the dashboard and of the runbook has numbers in the kit, and no NaN.

The kit runs as a whole. It begins with an ordinary time, so the queries about trouble come last.
"""

import math
import os
import sys

import pytest

from examples.operations.panels import VARIABLES, of_service
from examples.operations.ports import Ports, url
from examples.operations.process import Server
from tests.support.kit.exporting import until
from tests.support.kit.prometheus import Labels, Prometheus
from tests.support.kit.queries import ALL, Query, of_dashboard, of_runbook
from tests.support.kit.servers import Start
from tests.support.pages import ROOT

pytestmark = pytest.mark.operations

PATIENCE = 120.0
"""Seconds until there has been trouble of several kinds."""

YESTERDAY = " offset 1440000ms"
"""A day ago, which the kit does not know: it is asked without."""

ABOUT_TROUBLE = (
    # The alerts.
    'ALERTS{alertstate="firing"',
    # What is counted from the first time on.
    'websocket_close_outcome="server_error"',
    YESTERDAY,
)
"""What those queries have in them that find nothing while nothing is wrong."""


def is_about_trouble(query: Query) -> bool:
    return any(text in query.text for text in ABOUT_TROUBLE)


QUERIES = sorted([*of_dashboard(), *of_runbook()], key=is_about_trouble)


@pytest.fixture(scope="module")
def prometheus(start: Start, ports: Ports) -> Prometheus:
    """Prometheus of a kit that has just started."""
    kit = Server(
        name="kit",
        command=(sys.executable, "-m", "examples.operations"),
        ports={"PROMETHEUS_PORT": ports.prometheus},
        ready=(ports.prometheus, "/-/ready"),
        environment={**os.environ, **ports.environment, "PYTHONPATH": str(ROOT)},
    )
    start(kit)
    return Prometheus(url(ports.prometheus))


async def one_of_each(prometheus: Prometheus) -> dict[str, str]:
    """A value of each variable. One whose label nothing has stays at all of its values."""
    served = await until(lambda: prometheus.query("websocket_server_active_connections"), bool)
    labels, _ = served[0]
    return {name: labels.get(name, ALL[name]) for name in VARIABLES}


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.title)
async def test_a_query_has_numbers(prometheus: Prometheus, query: Query) -> None:
    seen: list[tuple[Labels, float]] = []

    async def ask() -> list[tuple[Labels, float]]:
        found = await prometheus.query(text)
        seen.extend(found)
        return found

    one = await one_of_each(prometheus)
    assert one["job"] == "price-ticker"
    patience = PATIENCE if is_about_trouble(query) else PATIENCE / 4
    for values in (ALL, one):
        text = query.choosing(values).replace(YESTERDAY, "")
        assert await until(ask, bool, patience=patience)
    assert all(math.isfinite(value) for _, value in seen)


@pytest.mark.parametrize("query", of_dashboard(), ids=lambda query: query.title)
async def test_a_query_of_the_dashboard_finds_nothing_of_what_is_not_chosen(
    prometheus: Prometheus, query: Query
) -> None:
    # Most alerts are of no single process, and shown for each.
    for name in query.variables - ({"instance"} if query.title == "Alerts" else set()):
        assert not await prometheus.query(query.choosing({**ALL, name: "another"}))


@pytest.mark.parametrize("job", ["prices", "shop/prices", "shop/europe/prices"])
async def test_the_dashboard_calls_a_service_as_jaeger_does(
    prometheus: Prometheus, job: str
) -> None:
    query = of_service(f'label_replace(vector(1), "job", "{job}", "", "")')
    assert await prometheus.query(query) == [({"job": job, "service": "prices"}, 1)]


async def test_the_rule_on_full_queues_sees_that_of_the_process_and_that_of_the_collector(
    prometheus: Prometheus,
) -> None:
    queues = await until(
        lambda: prometheus.query("instance:otel_span_queue:ratio"), lambda queues: len(queues) > 1
    )
    assert {labels["job"] for labels, _ in queues} == {"price-ticker", "otelcol"}
    assert all(0 <= value <= 1 for _, value in queues)
