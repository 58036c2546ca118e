"""The runbook has an entry for each alert, and each alert leads to its entry."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from examples.operations import rules, servers
from examples.operations.binaries import HERE
from examples.operations.ports import Ports
from examples.operations.rules import OPTIONAL, SHORTER, alerts
from tests.support.kit.servers import Start
from tests.support.pages import Page

PAGE = Page("docs/operating/runbook.md")
RUNBOOK = PAGE.text
PARTS = ("Meaning", "First look", "Usual causes", "Silence")

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
