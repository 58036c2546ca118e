"""Chance causes no alert, and an outage that is drowned in noise still does.

Clients come and go at random, as a Poisson process does. The services differ in how much happens
in them and in the seed.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pytest

from examples.operations.binaries import HERE
from tests.support.kit.prometheus import run

SEEDS = 6
MINUTES = 150
OUTAGE = range(120, 150)
FIRED = 'count by (alertname, job) (count_over_time(ALERTS{alertstate="firing"}[3h]))'

Rates = Sequence[tuple[str, str, float]]
"""Outcome, fault, and how many within 5 minutes."""


@dataclass(frozen=True)
class Service:
    """A service on an ordinary day."""

    rates: Rates
    subscriptions: float
    """How many subscriptions a connection has."""
    connections: int


SERVICES = {
    "small": Service(
        (
            ("normal", "none", 17),
            ("connection_lost", "network", 3),
            ("heartbeat_timeout", "network", 1),
        ),
        4,
        60,
    ),
    "phones": Service(
        (
            ("normal", "none", 5),
            ("connection_lost", "network", 5),
            ("heartbeat_timeout", "network", 3),
        ),
        3,
        60,
    ),
    "larger": Service(
        (
            ("normal", "none", 60),
            ("connection_lost", "network", 12),
            ("heartbeat_timeout", "network", 6),
            ("init_timeout", "client", 8),
        ),
        1,
        200,
    ),
}


def poisson(chance: random.Random, mean: float) -> int:
    """Count the events of one unit of time."""
    events, passed = -1, 0.0
    while passed <= mean:
        events, passed = events + 1, passed + chance.expovariate(1)
    return events


def counter(chance: random.Random, means: Iterable[float]) -> str:
    """Write the values of a counter, one for each minute."""
    return " ".join(map(str, accumulate(poisson(chance, mean) for mean in means)))


def series(service: Service, seed: int, *, lost: float = 0) -> Iterable[tuple[str, str]]:
    """Write the metrics of a service; in the outage, so many more are lost within 5 minutes."""
    chance, job = random.Random(seed), f'job="seed {seed}"'  # noqa: S311 - no secret

    def means(each_5m: float, more: float = 0) -> list[float]:
        return [(each_5m + more * (minute in OUTAGE)) / 5 for minute in range(MINUTES)]

    def of(name: str, labels: str) -> str:
        return f"{name}{{{job}, {labels}}}"

    ended = sum(each_5m for *_, each_5m in service.rates)
    for outcome, fault, each_5m in (*service.rates, ("server_shutdown", "none", 0)):
        labels = f'websocket_close_outcome="{outcome}", websocket_close_fault="{fault}"'
        more = lost if outcome == "heartbeat_timeout" else 0
        yield of("websocket_server_closes_total", labels), counter(chance, means(each_5m, more))
    yield (
        of(
            "graphql_ws_operation_duration_seconds_count",
            'graphql_operation_type="subscription", '
            'graphql_ws_operation_end_reason="connection_closed"',
        ),
        counter(chance, means(ended * service.subscriptions, lost * service.subscriptions)),
    )
    yield (
        of("websocket_server_messages_total", 'graphql_ws_message_type="connection_init"'),
        counter(chance, means(ended, lost)),
    )
    yield of("websocket_server_active_connections", ""), f"{service.connections}x{MINUTES}"


def check(file: Path, metrics: Iterable[tuple[str, str]], expected: Iterable[str]) -> None:
    """Let promtool evaluate the rules, and compare the alerts that fired at any time."""
    file.write_text(
        "\n".join(
            (
                f"rule_files: [{HERE}/rules/recording.yml, {HERE}/rules/alerts.yml]",
                "evaluation_interval: 1m",
                "tests:",
                "  - interval: 1m",
                "    input_series:",
                *(f"      - {{series: '{name}', values: '{values}'}}" for name, values in metrics),
                "    promql_expr_test:",
                f"      - expr: '{FIRED}'",
                f"        eval_time: {MINUTES - 1}m",
                "        exp_samples:",
                *(f"          - {{labels: '{labels}', value: 1}}" for labels in expected),
            )
        )
    )
    run("promtool", "test", "rules", file)


@pytest.mark.rules
@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_no_alert_fires_by_chance(service: Service, tmp_path: Path) -> None:
    metrics = [one for seed in range(SEEDS) for one in series(service, seed)]
    check(tmp_path / "noise.yml", metrics, [])


@pytest.mark.rules
@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_an_outage_is_no_chance(service: Service, tmp_path: Path) -> None:
    metrics = [one for seed in range(SEEDS) for one in series(service, seed, lost=80)]
    alerts = ("WebSocketHeartbeatsLost", "WebSocketSubscriptionsInterrupted")
    expected = [
        f'{{alertname="{alert}", job="seed {seed}"}}' for alert in alerts for seed in range(SEEDS)
    ]
    check(tmp_path / "outage.yml", metrics, expected)
