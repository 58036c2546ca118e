"""The files of Prometheus and Alertmanager are right, also where their durations are shortened."""

import re
from pathlib import Path

import pytest

from examples.operations.binaries import HERE
from examples.operations.ports import Ports
from examples.operations.rules import OPTIONAL, SHORTER, shortened, write
from tests.support.kit.prometheus import run

needs_servers = pytest.mark.rules

UNIT_TESTS = sorted((HERE / "rules" / "tests").glob("*.yml"))


@pytest.fixture(params=[False, True], ids=["as they are", "shortened"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write(tmp_path, Ports(), shorter=request.param)
    return tmp_path


@needs_servers
def test_prometheus_takes_its_configuration_and_the_rules(written: Path) -> None:
    run("promtool", "check", "config", written / "prometheus.yml")
    run("promtool", "check", "rules", *sorted((written / "rules").glob("*.yml")))


@needs_servers
def test_alertmanager_takes_its_configuration(written: Path) -> None:
    run("amtool", "check-config", written / "alertmanager.yml")


@needs_servers
@pytest.mark.parametrize("name", OPTIONAL)
def test_prometheus_takes_the_optional_rules(name: str) -> None:
    run("promtool", "check", "rules", HERE / name)


@needs_servers
@pytest.mark.parametrize("file", UNIT_TESTS, ids=lambda file: file.stem)
def test_the_unit_tests_of_the_rules_pass(file: Path) -> None:
    run("promtool", "test", "rules", file)


@pytest.mark.parametrize("name", SHORTER)
def test_what_is_shortened_are_durations_and_nothing_else(name: str) -> None:
    text = (HERE / name).read_text(encoding="utf-8")
    duration = re.compile(r"\d+(?:ms|s|m|h|d)\b")
    before, after = duration.split(text), duration.split(shortened(text, 60))
    assert before == after
    assert shortened(text, 1) == text


def test_each_kind_of_duration_is_shortened() -> None:
    assert shortened("scrape_interval: 15s", 60) == "scrape_interval: 250ms"
    assert shortened("interval: 5m", 60) == "interval: 5000ms"
    assert shortened("group_wait: 30s", 60) == "group_wait: 500ms"
    assert shortened("for: 10m", 60) == "for: 10000ms"
    assert shortened("keep_firing_for: 1h", 60) == "keep_firing_for: 60000ms"
    assert shortened("rate(x[5m] offset 1d)", 60) == "rate(x[5000ms] offset 1440000ms)"


def test_names_and_links_are_not_durations() -> None:
    text = "job:websocket_server_opens:increase5m /search?lookback=1h&minDuration=1s"
    assert shortened(text, 60) == text
