"""The pages for operators: their figures are those of a run, and their code and files are there."""

import asyncio
import os
import re
import sys
from collections import Counter
from functools import cache
from types import ModuleType
from typing import Final

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from examples.operations import measured, servers, sizing
from examples.operations.binaries import HERE
from examples.operations.ports import Ports, url
from strawberry_ws_otel import OTelConfig
from tests.support import snippets
from tests.support.kit.servers import Start
from tests.support.pages import ROOT, Page

SAMPLING: Final = Page("docs/operating/sampling.md")
SIZING: Final = Page("docs/operating/sizing.md")
PRODUCTION: Final = Page("docs/operating/production.md")
KIT: Final = Page("docs/operating/kit.md")

CONVERSATIONS = 40


async def run(*command: str, **variables: str) -> tuple[int | None, str]:
    """Run a program in the checkout; return its status and what it printed."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**ours, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


# --- Figures ---------------------------------------------------------------------------------


async def test_spans_and_series_are_those_of_a_run() -> None:
    status, output = await run(sys.executable, "-m", "examples.operations.sizing", "4")
    assert status == 0, output
    lines = [re.split(r" {2,}", line) for line in output.splitlines()[2:]]
    recorded = [(kind, spans) for kind, spans, *_ in SIZING.rows("Spans")]
    assert recorded == [(kind, spans) for kind, spans, *_ in lines]
    (series,) = re.findall(r"(\d+) after the conversations above", SIZING.section("Metrics"))
    assert series == lines[-1][-1]


@pytest.mark.operations
async def test_a_queue_with_room_for_all_loses_no_span_of_a_burst(
    start: Start, ports: Ports
) -> None:
    start(servers.jaeger(ports))
    status, output = await run(
        *(sys.executable, "-m", "examples.operations.burst", str(CONVERSATIONS)),
        OTEL_EXPORTER_OTLP_ENDPOINT=url(ports.jaeger_otlp),
    )
    assert status == 0, output
    counts = {text: count for count, text in re.findall(r"^ *(\d+) (\D.*)$", output, re.MULTILINE)}
    assert counts[f"spans ended when {CONVERSATIONS} connections were lost"] == str(
        2 * CONVERSATIONS
    )
    assert counts["of them arrived"] == counts["spans ended in all"] == str(3 * CONVERSATIONS)
    assert counts["were dropped by the full queue"] == "0"


async def test_a_burst_without_a_collector_says_what_it_needs() -> None:
    status, output = await run(sys.executable, "-m", "examples.operations.burst")
    assert status == 2
    assert output == "OTEL_EXPORTER_OTLP_ENDPOINT has to name a collector.\n"


# --- Code ------------------------------------------------------------------------------------


@cache
def module_of(page: Page) -> ModuleType:
    """The Python of a page."""
    return snippets.run(page)


async def kept_by(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> dict[str, Counter[str]]:
    """Have conversations of one query; return the names of the spans that were kept of each."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    config = OTelConfig(tracer_provider=provider, meter_provider=MeterProvider())
    monkeypatch.setattr(measured.View, "otel_config", config)
    async with measured.serving() as url:
        await sizing.talk(url, CONVERSATIONS, sizing.CONVERSATIONS["one query"])
    kept: dict[str, Counter[str]] = {}
    for span in exporter.get_finished_spans():
        if connection := (span.attributes or {}).get("websocket.connection.id"):
            kept.setdefault(str(connection), Counter())[span.name] += 1
    return kept


async def test_the_sampler_of_the_page_keeps_some_conversations_as_a_whole_and_others_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = await kept_by(module_of(SAMPLING).ByConversation(0.5), monkeypatch)
    assert 0 < len(kept) < CONVERSATIONS
    whole = ["GraphQL WebSocket Connection", "GraphQL WebSocket Connection Init", "query"]
    assert all(spans == Counter(whole) for spans in kept.values())


def test_the_sampler_of_the_page_fits_into_a_provider() -> None:
    assert isinstance(module_of(SAMPLING).sampler, Sampler)
    assert "ByConversation" in module_of(SAMPLING).sampler.get_description()


def test_the_resource_of_the_page_names_this_process() -> None:
    attributes = module_of(PRODUCTION).resource.attributes
    assert attributes["service.instance.id"] == f"{attributes['host.name']}-{os.getpid()}"


# --- Files -----------------------------------------------------------------------------------


def test_the_table_of_files_has_every_file_and_no_other() -> None:
    recorded = {cell.strip("`") for cell, _ in KIT.rows("The files")}
    there = {
        str(file.relative_to(HERE))
        for pattern in ("*.y*ml", "*.json", "rules/*.yml", "live.py", "shared.py", "tools/install")
        for file in HERE.glob(pattern)
    }
    assert recorded == there
