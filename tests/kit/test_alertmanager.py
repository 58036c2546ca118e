"""Alertmanager takes the services of several namespaces for several services."""

import asyncio
import json
from pathlib import Path
from subprocess import run

import pytest

from examples.operations import rules, servers
from examples.operations.binaries import find
from examples.operations.ports import Ports, url
from tests.support.kit.servers import Start

pytestmark = pytest.mark.operations

PAGE = ("alertname=WebSocketServerFailing", "severity=page", "job=app")
TICKET = ("alertname=WebSocketServerError", "severity=ticket", "job=app")


def amtool(ports: Ports, *words: str) -> str:
    command = [find("amtool"), *words, f"--alertmanager.url={url(ports.alertmanager)}"]
    return run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - ours


async def test_the_page_of_staging_does_not_silence_the_ticket_of_production(
    start: Start, ports: Ports, tmp_path: Path
) -> None:
    rules.write(tmp_path, ports, shorter=True)
    start(servers.alertmanager(ports, tmp_path / "alertmanager.yml", tmp_path))
    amtool(ports, "alert", "add", *PAGE, "namespace=staging")
    amtool(ports, "alert", "add", *TICKET, "namespace=staging")
    amtool(ports, "alert", "add", *TICKET, "namespace=production")
    async with asyncio.timeout(20):
        while not (inhibited := query(ports, "--inhibited")):  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.2)
    assert inhibited == [("WebSocketServerError", "staging")]
    assert query(ports, "--active") == [
        ("WebSocketServerError", "production"),
        ("WebSocketServerFailing", "staging"),
    ]


def query(ports: Ports, state: str) -> list[tuple[str, str]]:
    """Return the alerts in a state, by their names and namespaces."""
    alerts = json.loads(amtool(ports, "alert", "query", state, "--output=json"))
    return sorted((one["labels"]["alertname"], one["labels"]["namespace"]) for one in alerts)
