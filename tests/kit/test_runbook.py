"""The runbook has an entry for each alert, and each alert leads to its entry."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from examples.operations import rules, servers
from examples.operations.binaries import HERE
from examples.operations.ports import Ports
from examples.operations.rules import SHORTER, alerts
from tests.support.kit.servers import Start
from tests.support.pages import Page

PAGE = Page("docs/operating/runbook.md")
RUNBOOK = PAGE.text
PARTS = ("Meaning", "First look", "Usual causes", "Silence")

RULES = "".join((HERE / name).read_text(encoding="utf-8") for name in SHORTER)


def section(title: str) -> list[str]:
    """Return the titles of the entries of a section."""
    (text,) = re.findall(rf"^## {title}$(.+?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    return re.findall(r"^### (.+)$", text, re.MULTILINE)


def entry(alert: str) -> str:
    (text,) = re.findall(rf"^### {alert}$(.+?)(?=^##|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    return str(text)


def rule(alert: str) -> str:
    (text,) = re.findall(
        rf"- alert: {alert}$(.+?)(?=- alert: |\Z)", RULES, re.MULTILINE | re.DOTALL
    )
    return str(text)


def test_there_is_an_entry_for_each_alert_and_an_alert_for_each_entry() -> None:
    assert sorted(section("Page") + section("Tickets")) == sorted(alerts())


@pytest.mark.parametrize(("title", "severity"), [("Page", "page"), ("Tickets", "ticket")])
def test_an_entry_stands_where_the_severity_of_its_alert_says(title: str, severity: str) -> None:
    assert {alert for alert in alerts() if f"severity: {severity}" in rule(alert)} == set(
        section(title)
    )


def test_only_errors_of_the_server_wake_somebody() -> None:
    assert section("Page") == ["WebSocketServerFailing"]


@pytest.mark.parametrize("alert", alerts())
def test_an_entry_has_all_its_parts(alert: str) -> None:
    assert tuple(re.findall(r"^\*\*(.+?)\.\*\*", entry(alert), re.MULTILINE)) == PARTS
    assert "```promql" in entry(alert)


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_leads_to_its_entry(alert: str) -> None:
    assert f"runbook_url: '{{{{ $externalLabels.runbook }}}}#{alert.lower()}'" in rule(alert)


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_says_what_happened_to_how_many_and_what_to_search_for(alert: str) -> None:
    text = rule(alert)
    service = 'service={{ reReplaceAll "^.*/" "" $labels.job | urlquery }}'
    assert f"{{{{ $externalLabels.jaeger }}}}/search?{service}&" in text
    assert "summary:" in text
    assert "description:" in text
    # Nothing has no number.
    assert "$value" in text or alert == "WebSocketMetricsAbsent"


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
