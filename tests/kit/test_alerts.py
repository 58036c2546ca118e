"""Alerts fire on traffic that deserves it, reach the webhook, resolve, and else are silent.

All tests look at the record of one drill.
"""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from examples.operations import rules, servers
from examples.operations.drill import CAUSED
from examples.operations.jaeger import Jaeger
from examples.operations.ports import Ports, url
from examples.operations.process import running
from examples.operations.shared import ask
from examples.operations.traffic import CULPRITS, LABELS
from examples.operations.webhook import Notice, receiving
from tests.support.kit import drill
from tests.support.kit.drill import BY_CLIENTS, Drill, Record, recorded
from tests.support.kit.servers import Start
from tests.support.kit.ticker import scraped
from tests.support.kit.visits import clients

pytestmark = pytest.mark.operations


async def run_drill(ports: Ports, folder: Path, start: Start, record: Record) -> None:
    def start_prometheus() -> None:
        start(servers.alertmanager(ports, folder / "alertmanager.yml", folder))
        start(servers.prometheus(ports, folder / "prometheus.yml", folder))

    ticker = partial(running, scraped("ticker", ports), folder)
    async with receiving(ports.webhook, record.take), clients(ports.demo) as those:
        await Drill(record, ticker, start_prometheus, those).run()


@pytest.fixture(scope="module")
def record(start: Start, ports: Ports, folder: Path) -> Record:
    rules.write(folder, ports, shorter=True)
    start(servers.jaeger(ports))
    record = Record()
    asyncio.run(run_drill(ports, folder, start, record))
    return record


def first(record: Record, alert: str) -> Notice:
    return next(one for one in record.notices if one.alert == alert and one.status == "firing")


def test_the_first_close_of_a_process_is_reported_though_nobody_saw_the_counter_at_0(
    record: Record,
) -> None:
    assert recorded("firing", record.phases[drill.FRESH]) == {"WebSocketServerError"}


def test_an_ordinary_time_is_silent(record: Record) -> None:
    assert recorded("firing", record.phases[drill.ORDINARY_TIME]) == set()
    assert recorded("resolved", record.phases[drill.ORDINARY_TIME]) == {"WebSocketServerError"}


def test_a_deploy_is_silent(record: Record) -> None:
    assert record.phases[drill.DEPLOY] == []


def test_the_first_close_of_a_process_that_is_watched_is_reported(record: Record) -> None:
    assert recorded("firing", record.phases[drill.NEXT_FRESH]) == {"WebSocketServerError"}


@pytest.mark.parametrize("alert", sorted(BY_CLIENTS))
def test_an_alert_fires_when_its_trouble_comes(record: Record, alert: str) -> None:
    assert alert in recorded("firing", record.phases[drill.TROUBLE])


def test_nothing_fires_that_has_no_cause(record: Record) -> None:
    # The regular clients have left before.
    causes = {*BY_CLIENTS, "WebSocketServerError", "WebSocketConnectionsGone"}
    assert recorded("firing", record.phases[drill.TROUBLE]) <= causes
    # What is hoarded delivers nothing.
    hoarded = {"WebSocketGaugeOnlyGrows", "WebSocketSubscriptionsSilent"}
    assert recorded("firing", record.phases[drill.HOARDER]) <= causes | hoarded


def test_a_server_that_is_gone_is_missed(record: Record) -> None:
    fired = recorded("firing", record.phases[drill.GONE])
    # That what was hoarded delivers nothing may be reported only now.
    assert fired - {"WebSocketSubscriptionsSilent"} == {"WebSocketMetricsAbsent"}


@pytest.mark.parametrize("alert", sorted(CAUSED))
def test_an_alert_resolves(record: Record, alert: str) -> None:
    assert alert in recorded("resolved", record.last)


def test_what_clients_can_cause_does_not_reach_the_pager(record: Record) -> None:
    """Where the metrics end, other alerts fire."""
    paged = {one.alert for one in record.notices if one.receiver == "page"}
    assert paged >= {"WebSocketServerFailing", "WebSocketMetricsAbsent"}
    assert paged <= {"WebSocketServerFailing", "WebSocketMetricsAbsent", "WebSocketConnectionsGone"}


@pytest.mark.parametrize("alert", sorted(CAUSED))
def test_an_alert_says_where_to_look_and_what_to_do(
    record: Record, ports: Ports, alert: str
) -> None:
    notice = first(record, alert)
    assert notice.annotations.keys() == {"summary", "description", "jaeger", "runbook_url"}
    assert notice.annotations["jaeger"].startswith(
        f"{url(ports.jaeger_query)}/search?service=price-ticker&"
    )
    assert notice.annotations["runbook_url"] == f"docs/operating/runbook.md#{alert.lower()}"
    assert not notice.labels.keys() & {"jaeger", "runbook"}
    assert "price-ticker" in notice.annotations["summary"]


@pytest.mark.parametrize("alert", sorted(CAUSED - {"WebSocketSlowConsumers"}))
async def test_the_search_that_an_alert_names_finds_something(
    record: Record, ports: Ports, alert: str
) -> None:
    """Not for slow consumers: the Collector marks them, and there is none here."""
    base = url(ports.jaeger_query)
    assert await Jaeger(base).search(first(record, alert).annotations["jaeger"].removeprefix(base))


@pytest.mark.parametrize("alert", sorted(CULPRITS.keys() - {"WebSocketSlowConsumers"}))
async def test_the_search_that_an_alert_names_says_who_it_is(record: Record, alert: str) -> None:
    labels = LABELS.get(alert, {}).items()
    notices = [one for one in record.notices if one.alert == alert]
    [*_, notice] = (one for one in notices if labels <= one.labels.items())
    _, lines = await ask(notice.annotations["jaeger"])
    assert CULPRITS[alert].missing_in("\n".join(lines)) == set()
