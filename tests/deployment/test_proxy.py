"""A proxy stands between client and server: the verdict says what the server could see."""

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from strawberry_ws_otel import _semconv as name
from tests.deployment.programs import ROOT
from tests.deployment.proxy import Proxy, Settings, proxying
from tests.support.assertions import assert_case
from tests.support.cases import BARE, Arm, Case, traced
from tests.support.event_loop import Run
from tests.support.frames import Frame, Opcode
from tests.support.log import LogKeeper
from tests.support.raw_client import Client
from tests.support.scenarios.application import say_goodbye
from tests.support.scenarios.model import LIVE, Scenario, Verdict, by_client, by_server, play
from tests.support.scenarios.network import LOST, SILENT
from tests.support.scenarios.steps import (
    TRANSPORT,
    Step,
    asks,
    closes,
    hears,
    live,
    reset,
    silent,
    steps,
)
from tests.support.schema import TICKS
from tests.support.server import Server, Setup, serving
from tests.support.telemetry import Telemetry
from tests.support.transcripts import mask

RUNBOOK = ROOT / "docs" / "operating" / "runbook.md"
SOON = Settings(shutdown="1s")
"""Whoever is still there a second after a reload or a `quit` is cut."""

NO_UPGRADE = "It does not pass the `Upgrade` header on"

At = Callable[[Proxy], Step]


@dataclass(frozen=True, kw_only=True)
class Row:
    """What happens at the proxy, as the runbook says it, and what is true of the connection."""

    happens: str
    talk: At
    verdict: Verdict
    operations: tuple[str, ...] = LIVE
    setup: Setup = Setup()  # noqa: RUF009  # frozen
    settings: Settings = Settings()  # noqa: RUF009  # frozen


def whatever(step: Step) -> At:
    """A step that has nothing to do with the proxy."""
    return lambda _proxy: step


def recorded(sign: signal.Signals) -> At:
    """The proxy gets a signal in the middle of a live subscription."""

    def at(proxy: Proxy) -> Step:
        async def step(_client: Client, _server: Server) -> None:
            proxy.tell(sign)

        return steps(live, step)

    return at


def reloaded(proxy: Proxy) -> Step:
    async def step(_client: Client, _server: Server) -> None:
        await proxy.reload()

    return step


def cut(proxy: Proxy) -> Step:
    async def step(_client: Client, _server: Server) -> None:
        proxy.kill_workers()

    return step


async def answers_pings(client: Client, _server: Server) -> None:
    """Answer PINGs, and say nothing else, for longer than the proxy waits for anybody."""
    for _ in range(8):
        while (await client.frame()).opcode != Opcode.PING:
            """Results."""
        client.send(Frame(Opcode.PONG, b""))


async def goes(_client: Client, server: Server) -> None:
    await server.shutdown()


AFTER_A_RELOAD = steps(asks("after", TICKS, variables={"to": 1}), hears("complete"), closes(1000))

ROWS = (
    Row(
        happens="It cuts a connection that was idle for too long",
        talk=whatever(live),
        verdict=LOST,
        settings=Settings(idle="1s"),
    ),
    Row(
        happens="PINGs of the server keep an idle connection open",
        talk=whatever(steps(live, answers_pings, closes(1000))),
        verdict=by_client("normal", 1000),
        setup=Setup(socket={"heartbeat": 0.5}),
        settings=Settings(idle="3s"),
    ),
    Row(
        happens="It reloads, and the client leaves in time",
        talk=lambda proxy: steps(live, reloaded(proxy), AFTER_A_RELOAD),
        verdict=by_client("normal", 1000),
        operations=(*LIVE, "completed"),
    ),
    Row(
        happens="It reloads, and cuts after `worker_shutdown_timeout`",
        talk=recorded(signal.SIGHUP),
        verdict=LOST,
        settings=SOON,
    ),
    Row(
        happens="It quits, and cuts after `worker_shutdown_timeout`",
        talk=recorded(signal.SIGQUIT),
        verdict=LOST,
        settings=SOON,
    ),
    Row(happens="It is stopped", talk=recorded(signal.SIGTERM), verdict=LOST),
    Row(
        happens="Its worker is killed, or crashes",
        talk=lambda proxy: steps(live, cut(proxy)),
        verdict=LOST,
    ),
    Row(
        happens="The client's network resets the connection to it",
        talk=whatever(steps(live, reset)),
        verdict=LOST,
    ),
    Row(
        happens="The client is out of reach, which it does not notice",
        talk=whatever(live),
        verdict=SILENT,
        setup=Setup(socket={"heartbeat": 0.1}),
    ),
    Row(
        happens="The server says goodbye through it",
        talk=whatever(steps(live, silent, goes)),
        verdict=by_server("server_shutdown", 1001, "Server shutdown"),
        setup=Setup(on_shutdown=say_goodbye),
    ),
)


async def visit(row: Row, arm: Arm, folder: Path) -> tuple[Case, Client]:
    """Hold the conversation of a row through a proxy of its own."""
    async with (
        serving(row.setup, arm.view_class, arm.extensions) as server,
        proxying(server.port, folder, row.settings) as proxy,
    ):
        server.port = proxy.port
        scenario = Scenario(
            name=row.happens,
            talk=row.talk(proxy),
            verdict=row.verdict,
            operations=row.operations,
        )
        client = await play(scenario, server, TRANSPORT)
    return Case(scenario, TRANSPORT, handler_cancellation=False), client


@pytest.mark.tools("nginx")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.happens)
def test_the_verdict_says_what_the_server_could_see(
    row: Row, run: Run[Any], telemetry: Telemetry, library_log: LogKeeper, tmp_path: Path
) -> None:
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    case, client = run(visit(row, arm, tmp_path))
    assert_case(case, client, telemetry, library_log)


@pytest.mark.tools("nginx")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.happens)
def test_the_conversation_behind_the_proxy_is_the_same(
    row: Row, run: Run[Any], telemetry: Telemetry, tmp_path: Path
) -> None:
    arms = {"bare": BARE, "traced": traced(telemetry.tracer_provider, telemetry.meter_provider)}
    heard: list[tuple[object, ...]] = []
    for each, arm in arms.items():
        folder = tmp_path / each
        folder.mkdir()
        _, client = run(visit(row, arm, folder))
        # How many PINGs there are is up to the clock.
        frames = [frame for frame in client.frames if frame.opcode != Opcode.PING]
        heard.append((client.status, mask(client.head), frames, client.end))
    bare, ours = heard
    assert ours == bare


async def shake_hands(arm: Arm, folder: Path) -> int | None:
    """Ask for an upgrade through a proxy that passes it on as an ordinary request."""
    async with (
        serving(Setup(), arm.view_class, arm.extensions) as server,
        proxying(server.port, folder, Settings(upgrades=False)) as proxy,
    ):
        server.port = proxy.port
        client = await server.connect(protocol=TRANSPORT, headers={})
        await client.shake_hands()
        return client.status


@pytest.mark.tools("nginx")
def test_without_the_upgrade_header_there_is_no_connection(
    run: Run[Any], telemetry: Telemetry, library_log: LogKeeper, tmp_path: Path
) -> None:
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    assert run(shake_hands(arm, tmp_path)) == 400
    assert not telemetry.spans(name.SPAN_CONNECTION)
    assert telemetry.total(name.METRIC_CLOSES) == 0
    assert not library_log.records


def runbook_rows() -> list[list[str]]:
    (text,) = re.findall(
        r"^## Behind a proxy$(.+?)(?=^##|\Z)",
        RUNBOOK.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_runbook_says_so_of_each_and_of_nothing_else() -> None:
    recorded = {happens: verdict for happens, _sees, verdict, _do in runbook_rows()}
    assert recorded == {row.happens: f"`{row.verdict.outcome}`" for row in ROWS} | {
        NO_UPGRADE: "none"
    }
