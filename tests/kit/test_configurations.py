"""The configurations are valid, listen on loopback only, and do what they say about their data."""

import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import ClientResponseError

from examples.demo import clients
from examples.operations import servers
from examples.operations.binaries import HERE, find
from examples.operations.jaeger import Jaeger
from examples.operations.ports import Ports, url
from examples.operations.process import Process, Server, running
from tests.support.kit.exporting import ticking, until
from tests.support.kit.servers import Start

pytestmark = pytest.mark.operations

PERSISTENT = HERE / "jaeger-persistent.yaml"
EVERYTHING = "/search?service=price-ticker"
LISTENING = "0A"
LOOPBACK = "0100007F"
"""127.0.0.1 as the kernel writes it."""


@pytest.mark.parametrize(
    "names",
    [
        ["jaeger.yaml"],
        ["jaeger.yaml", "jaeger-persistent.yaml"],
        ["collector.yaml"],
        ["collector-first-tier.yaml"],
    ],
    ids=" ".join,
)
def test_jaeger_validates_its_configuration(names: list[str]) -> None:
    configs = [f"--config={name}" for name in names]
    subprocess.run(  # noqa: S603 - the kit's own program
        [find("Jaeger"), "validate", *configs], cwd=HERE, check=True, capture_output=True
    )


def listeners(process: Process) -> list[str]:
    """The addresses, as the kernel writes them, on which a process listens for TCP."""
    proc = Path(f"/proc/{process.child.pid}")
    inodes = set()
    for fd in (proc / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            inodes.add(fd.readlink().name.removeprefix("socket:[").removesuffix("]"))
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in (proc / "net" / table).read_text().splitlines()[1:]
    ]
    return [row[1] for row in rows if row[3] == LISTENING and row[9] in inodes]


def test_every_server_listens_on_loopback_only_and_where_it_says(
    start: Start, ports: Ports, folder: Path
) -> None:
    for name in ("prometheus.yml", "alertmanager.yml"):
        (folder / name).write_text(ports.applied_to((HERE / name).read_text()))
    described: list[Server] = [
        servers.jaeger(ports),
        servers.live(ports),
        servers.collector(ports),
        servers.prometheus(ports, folder / "prometheus.yml", folder),
        servers.alertmanager(ports, folder / "alertmanager.yml", folder),
    ]
    for server in described:
        expected = {f"{LOOPBACK}:{port:04X}" for port in server.ports.values()}
        assert set(listeners(start(server))) == expected


async def test_an_ephemeral_jaeger_forgets_and_a_persistent_one_does_not(tmp_path: Path) -> None:
    forgetful, faithful = await kept(tmp_path), await kept(tmp_path, PERSISTENT)
    assert (forgetful, faithful) == (False, True)


async def kept(folder: Path, *overlays: Path) -> bool:
    """Whether Jaeger still has a trace after it was stopped and started again."""
    ports = Ports.free()
    described = servers.jaeger(ports, *overlays, environment={"JAEGER_DATA": str(folder)})
    jaeger = Jaeger(url(ports.jaeger_query))
    with running(described, folder):
        async with ticking(url(ports.jaeger_otlp)) as ticker:
            await ticker.traffic.send({clients.query_and_mutation: 1})
        traces = await until(lambda: jaeger.search(EVERYTHING), lambda traces: len(traces) == 4)
        assert len(traces) == 4
    with running(described, folder):
        try:
            return bool(await jaeger.trace(next(iter(traces))))
        except ClientResponseError:
            return False
