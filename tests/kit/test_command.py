"""`python -m examples.operations` starts everything, stops everything, and says what it lacks."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from examples.operations.binaries import INSTALL
from examples.operations.closes import ABNORMAL
from examples.operations.ports import Ports
from tests.support.kit.visits import clients

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LOG = ROOT / "build" / "operations" / "ticker.log"
LIMIT = 60
STARTED = "An ordinary time"


async def started(
    *options: str, environment: Mapping[str, str] | None = None
) -> asyncio.subprocess.Process:
    # A shell ignores Ctrl-C for what it starts in the background.
    in_background = "/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh"
    return await asyncio.create_subprocess_exec(
        *(*in_background, sys.executable, "-m", "examples.operations", *options),
        cwd=ROOT,
        env=os.environ | (environment or {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def output(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    async with asyncio.timeout(LIMIT):
        stdout, stderr = await process.communicate()
    return process.returncode, stdout.decode(), stderr.decode()


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


async def all_free(ports: Ports) -> bool:
    """Whether nobody listens on any of them any more, at the latest after a while."""
    numbers = [int(port) for port in ports.environment.values()]
    async with asyncio.timeout(LIMIT):
        while not all(map(is_free, numbers)):  # noqa: ASYNC110 - there is no event when a process is gone
            await asyncio.sleep(0.1)
    return True


async def test_a_missing_program_is_named_with_what_installs_it(tmp_path: Path) -> None:
    nowhere = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    assert await output(await started(environment=nowhere)) == (
        2,
        "",
        f"Jaeger is not installed. Install all that is missing with: {INSTALL}\n",
    )


async def test_an_impossible_port_is_named_with_its_variable() -> None:
    assert await output(await started(environment={"PROMETHEUS_PORT": "65536"})) == (
        2,
        "",
        "PROMETHEUS_PORT=65536 is no port: it takes a number from 1 to 65535.\n",
    )


@pytest.fixture
def ports() -> Ports:
    return Ports.free()


@pytest.fixture
async def command(ports: Ports, tmp_path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command, once everything runs."""
    process = await started(environment=ports.environment | {"TMPDIR": str(tmp_path)})
    assert process.stdout
    try:
        async with asyncio.timeout(LIMIT):
            async for line in process.stdout:
                if STARTED in line.decode():
                    break
            else:
                _, _, stderr = await output(process)
                pytest.fail(stderr)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.operations
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=lambda one: one.name)
async def test_a_signal_stops_everything(
    command: asyncio.subprocess.Process, ports: Ports, ending: signal.Signals
) -> None:
    assert not is_free(ports.prometheus)
    command.send_signal(ending)
    status, _, stderr = await output(command)
    assert (status, stderr) == (0, "")
    assert await all_free(ports)


@pytest.mark.operations
async def test_the_log_outlives_the_command_and_names_the_connection_of_a_traceback(
    command: asyncio.subprocess.Process, ports: Ports
) -> None:
    async with clients(ports.demo) as some:
        await some.visit(ABNORMAL["server_error"])
    assert some.troubles == []
    command.send_signal(signal.SIGINT)
    await output(command)
    found = re.findall(r" trace=(\w+) connection=(\w+) (\S+):", LOG.read_text(encoding="utf-8"))
    # The clients that behave are cut off.
    (*ids, logger), traceback, *_ = found
    assert (logger, traceback) == ("strawberry_ws_otel", (*ids, "aiohttp.server"))


@pytest.mark.operations
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
async def test_nothing_survives_the_command_even_if_that_is_killed(
    command: asyncio.subprocess.Process, ports: Ports
) -> None:
    command.kill()
    await command.communicate()
    assert await all_free(ports)


@pytest.mark.operations
@pytest.mark.parametrize(
    ("variable", "whose"),
    [
        ("JAEGER_QUERY_PORT", "Jaeger"),
        ("PROMETHEUS_PORT", "Prometheus"),
        ("DEMO_PORT", "The price ticker"),
        ("WEBHOOK_PORT", "The receiver of alerts"),
    ],
)
async def test_a_taken_port_is_named_with_its_variable(
    ports: Ports, variable: str, whose: str
) -> None:
    port = int(ports.environment[variable])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        status, _, stderr = await output(await started(environment=ports.environment))
    said = f"{whose} cannot use port {port} of 127.0.0.1: another program listens there."
    assert (status, stderr) == (2, f"{said} Choose another one with {variable}={port + 1}.\n")


def test_ports_are_chosen_in_the_environment() -> None:
    assert Ports.chosen({"JAEGER_QUERY_PORT": "1", "OTHER_PORT": "2"}) == Ports(jaeger_query=1)


def test_free_ports_are_different_ones() -> None:
    numbers = list(Ports.free().environment.values())
    assert len(set(numbers)) == len(numbers)


def test_addresses_are_rewritten_all_at_once() -> None:
    swapped = Ports(prometheus=9093, alertmanager=9090)
    text = "http://127.0.0.1:9090 127.0.0.1:9093, 127.0.0.1:1 and 10.0.0.1:9090"
    assert swapped.applied_to(text) == re.sub(
        r"(127.0.0.1:)(9090|9093)",
        lambda found: found[1] + {"9090": "9093", "9093": "9090"}[found[2]],
        text,
    )
