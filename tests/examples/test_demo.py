"""The demo checks itself; these tests check that it does, and what a user sees of it."""

import asyncio
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import takewhile
from pathlib import Path

import aiohttp
import pytest
from strawberry.http.exceptions import WebSocketDisconnected

from examples.demo import names
from examples.demo.__main__ import main
from examples.demo.journal import Journal
from examples.demo.scenarios import NUMBERED, SCENARIOS, Scenario
from strawberry_ws_otel import _semconv
from tests.support.ports import free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LIMIT = 30
"""Seconds within which the demo must end by itself."""

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
CLEAN_ENV = {
    key: value
    for key, value in os.environ.items()
    if not key.startswith("OTEL_") and key not in {"FORCE_COLOR", "COLUMNS"}
} | {"PYTHONIOENCODING": "utf-8"}


def run(*options: str, code: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    program = ["-c", code] if code else ["-m", "examples.demo"]
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, *program, *options],
        cwd=ROOT,
        env=CLEAN_ENV | env,
        capture_output=True,
        encoding="utf-8",
        timeout=LIMIT,
        check=False,
    )


@pytest.fixture(scope="module")
def demo() -> subprocess.CompletedProcess[str]:
    return run()


def test_it_ends_well_and_says_so(demo: subprocess.CompletedProcess[str]) -> None:
    assert (demo.returncode, demo.stderr) == (0, "")
    assert f"All {len(SCENARIOS)} connections closed with the verdict they deserve." in demo.stdout
    assert f"With {ENDPOINT} set" in demo.stdout


def test_nothing_clutters_the_terminal(demo: subprocess.CompletedProcess[str]) -> None:
    assert not re.search("Traceback|Warning|Also logged", demo.stdout)
    lines = demo.stdout.splitlines()
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.key)
class TestEachScenario:
    def test_its_client_comes_home(
        self, demo: subprocess.CompletedProcess[str], scenario: Scenario
    ) -> None:
        assert re.search(rf"^ *\d+\.\d\d s  ✓ {scenario.title} *$", demo.stdout, re.MULTILINE)

    def test_its_conversation_is_titled_with_the_verdict(
        self, demo: subprocess.CompletedProcess[str], scenario: Scenario
    ) -> None:
        assert re.search(rf"╭─ \d+ {scenario.title} · {scenario.expected.outcome} ─+╮", demo.stdout)

    def test_its_close_is_in_the_table(
        self, demo: subprocess.CompletedProcess[str], scenario: Scenario
    ) -> None:
        table = demo.stdout.split("\nCloses ")[1].split("\n→ from the client")[0]
        [row] = re.findall(rf"^\d+ +{scenario.title}  .*$", table, re.MULTILINE)
        cells = row.split()
        expected = scenario.expected
        assert cells[-1] == "✓"
        assert {expected.outcome, str(expected.code or "-"), expected.initiator} <= set(cells)


def test_the_linked_traces_are_below_their_connection(
    demo: subprocess.CompletedProcess[str],
) -> None:
    panel = demo.stdout.split(" A missed heartbeat · ")[1].split("╰")[0]
    labels = re.findall(r"^│ (↳ .*?|GraphQL WebSocket Connection) +[·━●]", panel, re.MULTILINE)
    assert labels == [
        "GraphQL WebSocket Connection",
        "↳ GraphQL WebSocket Connection Init",
        "↳ query Quote",
        "↳ subscription TulipPrices",
        "↳ subscription Prices",
    ]
    assert "✗ websocket.error TimeoutError" in panel
    assert "graphql.error the feed has no opening price for TULIP" in panel
    assert "connection_closed" in panel


def test_the_summary_is_printed_before_the_conversations(
    demo: subprocess.CompletedProcess[str],
) -> None:
    summary, first = demo.stdout.index("\nCloses "), demo.stdout.index("╭─ 1 ")
    assert summary < first < demo.stdout.index("\nMetrics ")


def test_one_scenario_is_played_alone() -> None:
    number, scenario = NUMBERED[8]
    demo = run("--only", "9")
    assert (demo.returncode, demo.stderr, number) == (0, "", 9)
    assert re.findall(r"^╭─ (.+?) ─", demo.stdout, re.MULTILINE) == [
        f"9 {scenario.title} · {scenario.expected.outcome}"
    ]
    assert "The connection closed with the verdict it deserves." in demo.stdout
    closes = series(demo.stdout, "websocket.server.closes")
    assert [count for count in closes.values() if count != "0"] == ["1"]


@pytest.mark.parametrize("number", ["0", "99", "nine", "-1", "9.0"])
def test_a_scenario_that_there_is_not_is_said_plainly(number: str) -> None:
    demo = run(f"--only={number}")
    assert demo.returncode == 2
    text = f"argument --only: {number} is no number from 1 to {len(SCENARIOS)}"
    assert text in demo.stderr


def test_a_server_plays_no_scenario() -> None:
    demo = run("--serve", "--only", "9")
    assert demo.returncode == 2
    assert "argument --only: not allowed with argument --serve" in demo.stderr


def test_a_picture_of_one_scenario_is_of_that_one(tmp_path: Path) -> None:
    picture = tmp_path / "conversation.svg"
    demo = run("--only", "9", "--svg", str(picture))
    assert demo.returncode == 0
    [id_] = re.findall(r"websocket\.connection\.id=(\w+)", demo.stdout)
    is_a_picture_of_its_own(picture.read_text(encoding="utf-8"), id_)


LOGGED = [
    scenario
    for scenario in SCENARIOS
    if scenario.expected.outcome not in {"normal", "server_shutdown", "handshake_rejected"}
]


@pytest.mark.parametrize("scenario", LOGGED, ids=lambda scenario: scenario.key)
def test_an_abnormal_close_is_shown_with_its_log_record(
    demo: subprocess.CompletedProcess[str], scenario: Scenario
) -> None:
    panel = demo.stdout.split(f" {scenario.title} · ")[1].split("╰")[0]
    level = "ERROR" if scenario.expected.outcome == "server_error" else "WARNING"
    [id_] = re.findall(r"websocket\.connection\.id=(\w+)", panel)
    log = f"log {level} strawberry_ws_otel: GraphQL WebSocket {id_} closed abnormally"
    assert log in " ".join(panel.replace("│", " ").split())


def series(output: str, instrument: str) -> dict[str, str]:
    """Read what the table of metrics says of one instrument: its series and their values."""
    below = output.split(f"\n{instrument}  ")[1].splitlines()[1:]
    rows = takewhile(lambda line: line.startswith("    "), below)
    return dict(re.split(r"  +", row.strip(), maxsplit=1) for row in rows)


def test_the_gauges_are_back_at_zero(demo: subprocess.CompletedProcess[str]) -> None:
    connections = series(demo.stdout, "websocket.server.active_connections")
    assert connections == {"graphql-transport-ws": "0", "graphql-ws": "0"}
    assert series(demo.stdout, "graphql.server.subscription.active") == {"-": "0"}


def test_the_metrics_count_the_same_closes_as_the_spans(
    demo: subprocess.CompletedProcess[str],
) -> None:
    counted = {
        label.split(" · ")[1]: int(count)
        for label, count in series(demo.stdout, "websocket.server.closes").items()
        if " · " in label
    }
    assert counted == Counter(scenario.expected.outcome for scenario in SCENARIOS)


def test_a_wrong_verdict_fails_the_demo() -> None:
    code = """
import sys
from dataclasses import replace
from examples.demo import scenarios
from examples.demo.__main__ import main
object.__setattr__(scenarios.LAST_VISIT, "expected", scenarios.VISITS[0].expected)
sys.exit(main())
"""
    demo = run(code=code)
    assert demo.returncode == 1
    assert "Not as expected: A graceful server shutdown." in demo.stdout


def test_a_price_that_a_broken_connection_did_not_take_is_nothing_unexpected() -> None:
    recorded: list[str] = []
    journal, logger = Journal(recorded.append), logging.getLogger("strawberry.ws.task")
    try:
        logger.error("a price", exc_info=WebSocketDisconnected())
        logger.error("a bug", exc_info=LookupError("never"))
    finally:
        logging.getLogger().removeHandler(journal)
    assert recorded == ["ERROR strawberry.ws.task: a bug\nLookupError: never"]


def test_the_demo_reads_only_names_that_the_library_writes() -> None:
    written = {value for value in vars(_semconv).values() if isinstance(value, str)}
    read = {value for name, value in vars(names).items() if name.isupper()}
    assert read - written == {names.USER_ID}


class CollectorHandler(BaseHTTPRequestHandler):
    """A collector that takes everything, and remembers what it was sent."""

    received: dict[str, bytes]

    def do_POST(self) -> None:
        self.received[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name upstream
        pass


@pytest.fixture
def collector() -> Iterator[tuple[str, dict[str, bytes]]]:
    received: dict[str, bytes] = {}
    handler = type("Handler", (CollectorHandler,), {"received": received})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()
        thread.join()


def test_it_exports_to_a_collector_and_says_how_to_search(
    collector: tuple[str, dict[str, bytes]], tmp_path: Path
) -> None:
    endpoint, received = collector
    picture = tmp_path / "conversation.svg"
    demo = run("--svg", str(picture), **{ENDPOINT: endpoint})
    assert demo.returncode == 0
    found = re.search(r"tag +websocket\.connection\.id=([0-9a-f]{16})$", demo.stdout, re.MULTILINE)
    assert found
    assert re.search(r"service +price-ticker$", demo.stdout, re.MULTILINE)
    assert b"price-ticker" in received["/v1/traces"]
    assert found[1].encode() in received["/v1/traces"]
    is_a_picture_of_its_own(picture.read_text(encoding="utf-8"), found[1])


def is_a_picture_of_its_own(svg: str, connection_id: str) -> None:
    assert ET.fromstring(svg).tag.endswith("svg")  # noqa: S314 - our own file
    assert connection_id in svg
    assert "url(http" not in svg
    assert "font-face" not in svg


def test_it_ends_well_without_its_collector() -> None:
    demo = run(**{ENDPOINT: f"http://127.0.0.1:{free_port()}"})
    assert (demo.returncode, demo.stderr) == (0, "")
    assert re.search(
        r"The collector at http://127\.0\.0\.1:\d+ did not take \d+ spans", demo.stdout
    )


@pytest.mark.parametrize("mode", [[], ["--serve"]], ids=["run", "serve"])
def test_a_taken_port_is_said_plainly(mode: list[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        demo = run(*mode, "--port", str(port))
    assert demo.returncode == 2
    assert demo.stderr == (
        f"Port {port} of 127.0.0.1 cannot be used: another program listens there, "
        "choose another one with --port.\n"
    )


def refused(*options: str) -> None:
    """Give the demo options that it refuses before it does anything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["examples.demo", *options])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 2


def test_an_impossible_port_is_said_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    refused("--port", "65536")
    message = "argument --port: 65536 is no number from 0 to 65535"
    assert message in capsys.readouterr().err


def test_a_picture_needs_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused("--svg", str(tmp_path / "nowhere" / "conversation.svg"))
    assert "there is no folder" in capsys.readouterr().err


async def read_until(stream: asyncio.StreamReader, pattern: str) -> re.Match[str]:
    async for line in stream:
        if match := re.search(pattern, line.decode()):
            return match
    raise AssertionError(f"{pattern} never came")


@pytest.fixture
async def serving() -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-m", "examples.demo", "--serve", "--port", "0"),
        cwd=ROOT,
        env=CLEAN_ENV,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    yield process
    if process.returncode is None:
        process.kill()
        await process.wait()


async def test_serve_draws_each_conversation_as_it_closes(
    serving: asyncio.subprocess.Process,
) -> None:
    assert serving.stdout is not None
    async with asyncio.timeout(LIMIT), aiohttp.ClientSession() as session:
        url = (await read_until(serving.stdout, r"GraphiQL +(http\S+)"))[1]
        connections_url = (await read_until(serving.stdout, r"Open now +(http\S+)"))[1]
        async with session.get(url, headers={"Accept": "text/html"}) as page:
            assert "GraphiQL" in await page.text()
        async with session.ws_connect(url, protocols=["graphql-transport-ws"]) as ws:
            await ws.send_json({"type": "connection_init"})
            assert await ws.receive_json() == {"type": "connection_ack", "payload": {"user": None}}
            async with session.get(connections_url) as answer:
                [shown] = await answer.json()
            assert shown["attributes"] == {"user.id": "guest"}
        await read_until(serving.stdout, "╭─ 1 Python/.* · normal")
        await read_until(serving.stdout, "user.id guest")
        serving.send_signal(signal.SIGINT)
        stdout, stderr = await serving.communicate()
    assert (serving.returncode, stderr) == (0, b"")
    assert b"websocket.server.closes" in stdout
