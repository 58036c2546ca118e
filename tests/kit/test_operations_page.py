"""The page for operators: what it says to run can be run, and its figures are those of a run."""

import ast
import asyncio
import os
import re
import runpy
import shlex
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk import environment_variables
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.sdk.version import __version__ as sdk_version

from examples.operations import measured, servers, sizing
from examples.operations.binaries import HERE
from examples.operations.ports import Ports, url
from strawberry_ws_otel import OTelConfig
from tests.support.kit.servers import Start

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGE = (DOCS / "operations.md").read_text(encoding="utf-8")
PICTURES = sorted((DOCS / "pictures").glob("*.png"))

LARGEST_PICTURE = 250_000
CONVERSATIONS = 40


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def section(title: str) -> str:
    (text,) = re.findall(rf"^#+ {title}\n(.*?)(?=^#+ |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    return str(text)


def rows(title: str) -> list[list[str]]:
    """The cells of the table of a section, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def commands() -> list[list[str]]:
    """The words of every command of the page; what is joined with `&&` is several commands."""
    lines = [line for block in blocks("shell") for line in block.splitlines()]
    return [shlex.split(one) for line in lines for one in line.split("&&")]


def starting_with(*words: str) -> list[list[str]]:
    """The rest of the commands that start so, variables that are set for them aside."""
    stripped = [
        command[next(i for i, word in enumerate(command) if "=" not in word) :]
        for command in commands()
        if command[0] != "export"
    ]
    return [command[len(words) :] for command in stripped if command[: len(words)] == list(words)]


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


# --- Commands --------------------------------------------------------------------------------

MODULES = starting_with(".venv/bin/python", "-m")
SCRIPTS = [command for command in commands() if command[0].startswith("examples/")]
COMPOSE = starting_with("docker", "compose", "-f")
SETUP = [*starting_with("python3", "-m", "venv"), *starting_with(".venv/bin/pip", "install")]
SET = [word for command in commands() for word in command if "=" in word]


def test_every_command_is_of_a_kind_that_is_tested() -> None:
    exports = [command for command in commands() if command[0] == "export"]
    assert len(commands()) == sum(map(len, (MODULES, SCRIPTS, COMPOSE, SETUP, exports)))


@pytest.mark.parametrize("block", blocks("shell"))
async def test_a_shell_can_read_it(block: str) -> None:
    assert await run("bash", "-n", "-c", block) == (0, "")


@pytest.mark.parametrize("words", MODULES, ids=" ".join)
def test_a_program_takes_the_options_that_the_page_gives_it(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module, *options = words
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert not ended.value.code
    usage = capsys.readouterr().out
    assert all(option in usage for option in options if option.startswith("-"))


@pytest.mark.parametrize("words", SCRIPTS, ids=" ".join)
async def test_a_script_is_there_and_can_be_read(words: list[str]) -> None:
    (script,) = words
    assert os.access(ROOT / script, os.X_OK)
    assert await run("bash", "-n", script) == (0, "")


@pytest.mark.parametrize("words", COMPOSE, ids=" ".join)
def test_compose_is_given_a_file_that_is_there(words: list[str]) -> None:
    assert (ROOT / words[0]).is_file()


def known_variables() -> set[str]:
    return {str(value) for value in vars(environment_variables).values()}


def number(version: str) -> tuple[int, int]:
    major, minor, *_ = version.split(".")
    return int(major), int(minor)


@pytest.mark.parametrize("variable", sorted({word.split("=")[0] for word in SET}))
def test_a_variable_is_one_that_the_sdk_knows(variable: str) -> None:
    since = re.search(rf"^\| `{variable}` .*from SDK ([\d.]+) on", PAGE, re.MULTILINE)
    if since and number(sdk_version) < number(since[1]):
        pytest.skip(f"the SDK is {sdk_version}")
    assert variable in known_variables()


# --- Figures ---------------------------------------------------------------------------------


async def test_spans_and_series_are_those_of_a_run() -> None:
    status, output = await run(sys.executable, "-m", "examples.operations.sizing", "4")
    assert status == 0, output
    lines = [re.split(r" {2,}", line) for line in output.splitlines()[2:]]
    recorded = [(kind, spans) for kind, spans, *_ in rows("Spans")]
    assert recorded == [(kind, spans) for kind, spans, *_ in lines]
    (series,) = re.findall(r"(\d+) after the conversations above", section("Metrics"))
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
    assert counts["of them arrived"] == counts["spans ended in all"] == str(5 * CONVERSATIONS)
    assert counts["were dropped by the full queue"] == "0"


async def test_a_burst_without_a_collector_says_what_it_needs() -> None:
    status, output = await run(sys.executable, "-m", "examples.operations.burst")
    assert status == 2
    assert output == "OTEL_EXPORTER_OTLP_ENDPOINT has to name a collector.\n"


# --- Code ------------------------------------------------------------------------------------


@cache
def namespace() -> dict[str, Any]:
    """What the Python of the page defines."""
    names: dict[str, Any] = {}
    for block in blocks("python"):
        exec(compile(ast.parse(block), "operations.md", "exec"), names)  # noqa: S102  # our own
    return names


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
    kept = await kept_by(namespace()["ByConversation"](0.5), monkeypatch)
    assert 0 < len(kept) < CONVERSATIONS
    whole = ["GraphQL WebSocket Connection", "GraphQL WebSocket Connection Init", "query"]
    assert all(spans == Counter(whole) for spans in kept.values())


def test_the_sampler_of_the_page_fits_into_a_provider() -> None:
    assert isinstance(namespace()["sampler"], Sampler)
    assert "ByConversation" in namespace()["sampler"].get_description()


def test_the_resource_of_the_page_names_this_process() -> None:
    instance = namespace()["resource"].attributes["service.instance.id"]
    assert instance.endswith(f"-{os.getpid()}")


# --- Files, pictures, links ------------------------------------------------------------------


def test_the_table_of_files_has_alwaysy_file_and_no_other() -> None:
    recorded = {cell.strip("`") for cell, _ in rows("The files")}
    there = {
        str(file.relative_to(HERE))
        for pattern in ("*.y*ml", "*.json", "rules/*.yml", "tools/install")
        for file in HERE.glob(pattern)
    }
    assert recorded == there


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_a_picture_is_shown_and_small(picture: Path) -> None:
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md")]
    assert any(f"](pictures/{picture.name})" in page for page in pages)
    assert picture.stat().st_size < LARGEST_PICTURE


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {heading.lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", PAGE))))
def test_a_link_leads_somewhere(link: str) -> None:
    file, _, anchor = link.partition("#")
    page = DOCS / (file or "operations.md")
    assert page.exists()
    assert not anchor or anchor in anchors(page)
