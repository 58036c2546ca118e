"""The last step of the tutorial: Prometheus, with the files of the page, fires its alert."""

import asyncio
import shlex
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from examples.operations import servers
from examples.operations.binaries import find
from examples.operations.ports import Ports, url
from tests.support.kit.prometheus import Prometheus
from tests.support.kit.servers import Start
from tests.support.tutorial import PAGE, Folder

pytestmark = pytest.mark.operations


async def until(ask: Callable[[], Awaitable[list[Any]]]) -> list[Any]:
    """Ask Prometheus again and again, until there is an answer."""
    while not (answer := await ask()):  # noqa: ASYNC110  # there is no event
        await asyncio.sleep(0.5)
    return answer


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
    prometheus = Prometheus(url(ports.prometheus))

    async def alerts() -> list[Any]:
        return list((await prometheus.ask("alerts"))["alerts"])

    async with folder.serving(), asyncio.timeout(90):
        start(replace(server, command=(find("Prometheus"), config, *options[1:], data)))
        await until(lambda: prometheus.query("websocket_server_closes_total"))
        await folder.vanish()
        fired = await until(alerts)
    assert [(one["labels"]["alertname"], one["state"]) for one in fired] == [
        ("AbnormalClose", "firing")
    ]
    assert fired[0]["labels"]["websocket_close_outcome"] == "connection_lost"
