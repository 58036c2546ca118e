"""The last step of the tutorial: Prometheus, with the files of the page, fires its alert."""

import asyncio
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from examples.operations import servers
from examples.operations.binaries import find
from examples.operations.ports import Ports, url
from tests.support.kit.servers import Start
from tests.support.tutorial import PAGE, Folder

pytestmark = pytest.mark.operations


async def alerts(session: aiohttp.ClientSession, prometheus: str) -> list[Any]:
    async with session.get(f"{prometheus}/api/v1/alerts") as answer:
        return list(json.loads(await answer.text())["data"]["alerts"])


async def query(session: aiohttp.ClientSession, prometheus: str, expression: str) -> list[Any]:
    parameters = {"query": expression}
    async with session.get(f"{prometheus}/api/v1/query", params=parameters) as answer:
        return list(json.loads(await answer.text())["data"]["result"])


async def test_a_client_that_vanishes_causes_the_alert_of_the_page(
    tmp_path: Path, start: Start, ports: Ports
) -> None:
    folder = Folder(
        tmp_path, port=ports.demo, metrics=ports.demo_metrics, prometheus=ports.prometheus
    )
    folder.change(3)
    [command] = [line for line in PAGE.blocks("shell") if line.startswith("prometheus ")]
    _, *options = shlex.split(folder.on_these_ports(command))
    data = f"--storage.tsdb.path={tmp_path / 'data'}"
    config = f"--config.file={tmp_path / 'prometheus.yml'}"
    assert options[0] == "--config.file=prometheus.yml"
    server = servers.prometheus(ports, tmp_path / "prometheus.yml", tmp_path)
    prometheus = url(ports.prometheus)
    async with folder.serving(), aiohttp.ClientSession() as session, asyncio.timeout(90):
        start(replace(server, command=(find("Prometheus"), config, *options[1:], data)))
        while not await query(session, prometheus, "websocket_server_closes_total"):
            await asyncio.sleep(0.5)
        await folder.vanish()
        while not (fired := await alerts(session, prometheus)):
            await asyncio.sleep(0.5)
    assert [(one["labels"]["alertname"], one["state"]) for one in fired] == [
        ("AbnormalClose", "firing")
    ]
    assert fired[0]["labels"]["websocket_close_outcome"] == "connection_lost"
