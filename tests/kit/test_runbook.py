"""The runbook has an entry for each alert, and each alert leads to its entry."""

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from examples.demo.telemetry import SERVICE
from examples.operations import rules, servers
from examples.operations.binaries import HERE
from examples.operations.jaeger import Jaeger
from examples.operations.ports import Ports, url
from examples.operations.rules import OPTIONAL, SHORTER, alerts
from strawberry_ws_otel import _semconv
from tests.support.kit.recorded import Conversation, Service, timeless
from tests.support.kit.servers import Start
from tests.support.pages import ROOT, Page

PAGE = Page("docs/operating/runbook.md")
RUNBOOK = PAGE.text
PARTS = ("Meaning", "First look", "Who", "Usual causes", "Silence")

RULES = "".join((HERE / name).read_text(encoding="utf-8") for name in (*SHORTER, *OPTIONAL))


def section(title: str) -> list[str]:
    """Return the titles of the entries of a section."""
    (text,) = re.findall(rf"^## {title}$(.+?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    return re.findall(r"^### (.+)$", text, re.MULTILINE)


def entry(alert: str) -> str:
    (text,) = re.findall(rf"^### {alert}$(.+?)(?=^##|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    return str(text)


def rules_of(alert: str) -> list[str]:
    """Return the rules of an alert, one for each of its severities."""
    return re.findall(rf"- alert: {alert}$(.+?)(?=- alert: |\Z)", RULES, re.MULTILINE | re.DOTALL)


def test_there_is_an_entry_for_each_alert_and_an_alert_for_each_entry() -> None:
    assert sorted(section("Page") + section("Tickets")) == sorted(alerts())


def test_an_entry_stands_below_the_highest_severity_of_its_alert() -> None:
    paging = {one for one in alerts() if any("severity: page" in rule for rule in rules_of(one))}
    assert set(section("Page")) == paging
    assert set(section("Tickets")) == set(alerts()) - paging


def test_only_what_no_client_can_cause_wakes_somebody() -> None:
    assert section("Page") == [
        "WebSocketServerFailing",
        "WebSocketConnectionsGone",
        "WebSocketMetricsAbsent",
        "WebSocketErrorBudgetBurns",
    ]


def test_a_rule_that_pages_says_why() -> None:
    paging = [rule for rule in RULES.split("\n\n") if "severity: page" in rule]
    assert len(paging) == 4
    assert all(re.search("^ +# .*Pages", rule, re.MULTILINE) for rule in paging)


@pytest.mark.parametrize("alert", alerts())
def test_two_rules_of_one_alert_never_have_the_same_labels(alert: str) -> None:
    severities = re.findall(r"severity: (\w+)", "".join(rules_of(alert)))
    assert len(severities) == len(set(severities)) == len(rules_of(alert))


@pytest.mark.parametrize("alert", alerts())
def test_an_entry_has_all_its_parts(alert: str) -> None:
    assert tuple(re.findall(r"^\*\*(.+?)\.\*\*", entry(alert), re.MULTILINE)) == PARTS
    assert "```promql" in entry(alert)


@pytest.mark.parametrize("alert", alerts())
def test_an_entry_says_how_to_find_out_who_it_is(alert: str) -> None:
    (step,) = re.findall(r"^\*\*Who\.\*\* (.+?)\n\n", entry(alert), re.MULTILINE | re.DOTALL)
    assert "](#who-is-it)" in step
    assert "normal closes of the same time" in " ".join(step.split())
    assert "alert's search" in step


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_leads_to_its_entry(alert: str) -> None:
    runbook = '(query "websocket_alerts:links" | first | label "runbook")'
    for rule in rules_of(alert):
        link = f"{{{{ or $externalLabels.runbook {runbook} }}}}#{alert.lower()}"
        assert f"runbook_url: '{link}'" in rule


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_says_what_happened_to_how_many_and_what_to_search_for(alert: str) -> None:
    jaeger = '(query "websocket_alerts:links" | first | label "jaeger")'
    service = 'service={{ reReplaceAll "^.*/" "" $labels.job | urlquery }}'
    for rule in rules_of(alert):
        assert f"{{{{ or $externalLabels.jaeger {jaeger} }}}}/search?{service}&" in rule
        # It finds the same in the morning.
        assert re.search(r"&lookback=custom&start=\{\{.+\}\}&end=\{\{.+\}\}&limit=100'", rule)
        assert "summary:" in rule
        assert "description:" in rule
        # Nothing has no number.
        assert "$value" in rule or alert == "WebSocketMetricsAbsent"


@pytest.mark.operations
def test_the_commands_for_silences_run(tmp_path: Path, start: Start, ports: Ports) -> None:
    rules.write(tmp_path, ports, shorter=True)
    start(servers.alertmanager(ports, tmp_path / "alertmanager.yml", tmp_path))
    commands = [block for block in PAGE.blocks("shell") if block.startswith("amtool ")]
    assert len(commands) == 2
    for command in commands:
        here = command.replace(":9093", f":{ports.alertmanager}")
        subprocess.run(  # noqa: S603  # the page's own command
            ["/bin/bash", "-euo", "pipefail", "-c", here],
            env=os.environ | {"USER": "somebody"},
            check=True,
        )


BOT = {_semconv.USER_AGENT: "feed-bot/1.2", _semconv.CLIENT_ADDRESS: "192.0.2.7"}


@pytest.fixture
async def incident(start: Start, ports: Ports) -> AsyncIterator[Service]:
    """A service that refuses one client nine times, and another client once."""
    start(servers.jaeger(ports))
    service = Service(SERVICE, Jaeger(url(ports.jaeger_query)), url(ports.jaeger_otlp))
    for _ in range(30):
        service.record(Conversation())
    for attributes in [*[BOT] * 9, {}]:
        service.record(Conversation("forbidden", attributes))
    await service.stored()
    yield service
    await service.shut_down()


def output_of(command: str) -> list[str]:
    done = subprocess.run(  # noqa: S603  # the page's own command
        ["/bin/bash", "-euo", "pipefail", "-c", command],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout.splitlines()


@pytest.mark.operations
async def test_the_commands_that_say_who_it_is_name_the_client(
    curl_and_jq: None, incident: Service, ports: Ports
) -> None:
    shared, rough = (
        block.replace(":16686", f":{ports.jaeger_query}")
        for block in PAGE.blocks("shell")
        if "examples.operations.shared" in block or block.startswith("curl ")
    )
    assert timeless(output_of(shared.replace(".venv/bin/python", sys.executable))) == [
        "10 connections found, compared with 30 normal closes of the same time.",
        "What they share:",
        "9 of 10 found  0 of 30 normal  user_agent.original  feed-bot/1.2",
        "9 of 10 found  0 of 30 normal  client.address       192.0.2.7",
        "How they ended:",
        "10 of 10 found  0 of 30 normal  websocket.close.outcome  forbidden",
    ]
    counts = [line.split(maxsplit=1) for line in output_of(rough)]
    assert ["9", 'user_agent.original "feed-bot/1.2"'] in counts
    assert ["9", 'client.address "192.0.2.7"'] in counts
    normal = rough.replace("error%22%3A%22true", "websocket.close.outcome%22%3A%22normal")
    assert normal != rough
    assert not any("feed-bot" in line for line in output_of(normal))
