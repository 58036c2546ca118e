"""Whoever follows the tutorial sees what it says, step by step.

The alert of its last step is in `tests/kit/test_tutorial_alert.py`, which has a Prometheus.
"""

import asyncio
import re
import subprocess
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from tests.support.pages import ROOT
from tests.support.ports import free_port
from tests.support.tutorial import PAGE, Folder

pytestmark = pytest.mark.slow

LIBRARY: Final = 2
"""Changes that add the library."""
TELEMETRY: Final = 1
"""Changes that add the SDK."""
RECORD, SPANS = PAGE.blocks("text")
ID: Final = re.compile(r"[0-9a-f]{16}")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path, port=free_port(), metrics=free_port(), prometheus=free_port())


def without_id(text: str) -> str:
    return ID.sub("ID", text)


async def read_until(process: asyncio.subprocess.Process, last: str) -> list[str]:
    """The lines that the server prints up to this one."""
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(30):
        while not lines or lines[-1] != last:
            lines.append((await process.stdout.readline()).decode().rstrip("\n"))
    return lines


async def test_without_the_library_the_server_says_nothing(folder: Folder) -> None:
    async with folder.serving() as server:
        await folder.vanish()
        server.terminate()
        output, _ = await server.communicate()
    assert output.decode().replace("(Press CTRL+C to quit)\n", "").strip() == ""


async def test_with_the_library_the_log_says_what_happened(folder: Folder) -> None:
    folder.change(LIBRARY)
    async with folder.serving() as server:
        await folder.vanish()
        assert server.stdout is not None
        async with asyncio.timeout(30):
            lines = [(await server.stdout.readline()).decode() for _ in range(4)]
    assert [line.partition(":")[0] for line in lines[1:3]] == [
        "no tracer provider is set",
        "no meter provider is set",
    ]
    assert without_id(lines[-1]) == without_id(RECORD)


async def test_with_the_sdk_it_prints_the_spans_and_serves_the_metrics(folder: Folder) -> None:
    folder.change(LIBRARY + TELEMETRY)
    expected = SPANS.splitlines()
    async with folder.serving() as server, aiohttp.ClientSession() as session:
        await folder.vanish()
        lines = await read_until(server, expected[-1])
        async with session.get(folder.on_these_ports("http://127.0.0.1:9464/metrics")) as answer:
            metrics = await answer.text()
    assert [line for line in lines if line in expected] == expected
    [counted] = re.findall(
        r"^websocket_server_closes_total{.*connection_lost.*} (.*)$", metrics, re.MULTILINE
    )
    assert float(counted) == 1


def test_the_folder_of_the_page_is_beside_a_checkout_of_this_name() -> None:
    assert "../strawberry_ws_otel" in PAGE.text


@pytest.mark.site
def test_its_commands_install_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "strawberry_ws_otel").symlink_to(ROOT, target_is_directory=True)
    install, *_ = PAGE.blocks("shell")
    script = f"{install}\n.venv/bin/python -c 'import strawberry_ws_otel, opentelemetry.sdk'"
    subprocess.run(  # noqa: S603  # the page's own commands
        ["/bin/bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        check=True,
    )
