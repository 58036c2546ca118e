"""Programs of a deployment as processes of their own, and the clients that talk to them."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from examples.operations.measured import open_session
from tests.deployment.receiver import Receiver
from tests.support.ports import free_port
from tests.support.tls import TLS

ROOT = Path(__file__).parents[2]
UNAWARE_APPLICATION = Path(__file__).with_name("unaware_app.py")
INSTRUMENT = str(Path(sys.executable).with_name("opentelemetry-instrument"))
PATIENCE = 60
OURS = "Telemetry failed"
"""What a program prints if the library fails. Tracebacks of the host it may: a result too late."""
COUNT = "subscription Count { count(to: 1000000) }"
BARE = "ignore:Bare functions are deprecated:DeprecationWarning"
"""On Python 3.14 and newer, aiohttp takes Strawberry's view for a bare function."""
STRICT = ("-X", "dev", "-W", "error", "-W", BARE)
"""Lets Python complain: of warnings, of what was left open or unawaited, of slow callbacks."""
COMPLAINT = re.compile(
    r"(?:^|[ .])\w*Warning: |Task was destroyed"
    # That the host is slow is up to the machine, but no callback of ours is.
    r"|(?:^|: )Executing <\w*Handle .*\bstrawberry_ws_otel/_\w+\.py"
)


def environment(receiver: Receiver, **variables: str) -> dict[str, str]:
    """Ours, with no other telemetry than to the receiver."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    return {
        **ours,
        "PYTHONPATH": str(ROOT),
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        # Nothing is exported by the clock: what arrives was sent by the shutdown.
        "OTEL_BSP_SCHEDULE_DELAY": "600000",
        "OTEL_METRIC_EXPORT_INTERVAL": "600000",
        **variables,
    }


async def until(is_so: Callable[[], bool], what: str) -> None:
    """Wait until something is so, which nothing announces."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not is_so():  # noqa: ASYNC110  # there is no event
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"it never came to this: {what}") from None


@dataclass(frozen=True)
class Program:
    """A program that runs, and the file that it prints to."""

    process: asyncio.subprocess.Process
    output: Path

    @property
    def printed(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    @property
    def complaints(self) -> list[str]:
        """The lines in which Python complained."""
        return [line for line in self.printed.splitlines() if COMPLAINT.search(line)]

    async def prints(self, text: str, times: int = 1) -> None:
        await until(lambda: self.printed.count(text) >= times, f"{text}\n{self.printed}")

    async def ends(self) -> int:
        """Wait for its end; return its status."""
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    async def receives(self, sign: signal.Signals) -> int:
        self.process.send_signal(sign)
        return await self.ends()


@asynccontextmanager
async def running(
    *command: str, output: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Program]:
    """Run a program in the checkout until the block ends; then all of its processes are gone."""
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            # With it go the workers that it made.
            process_group=0,
        )
    try:
        yield Program(process, output)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to run a server."""

    python: tuple[str, ...] = ()
    """Options of the interpreter."""
    uvloop: bool = False
    tls: TLS | None = None


PLAINLY = Way()


@dataclass(frozen=True)
class Server(Program):
    """A program that serves, and its visitors."""

    url: str
    visitors: "Crowd"

    async def visited_by(self, number: int, headers: Mapping[str, str] | None = None) -> None:
        """Let so many subscribe."""
        await self.visitors.joins(self.url, number, headers)


@asynccontextmanager
async def serving(
    receiver: Receiver, folder: Path, way: Way = PLAINLY, **variables: str
) -> AsyncIterator[Server]:
    """Run `examples.deployment.serve`, which listens already, until the block ends."""
    port, certificate = free_port(), folder / "server.pem"
    variables |= {"PORT": str(port), "UVLOOP": str(int(way.uvloop))}
    if way.tls is not None:
        certificate.write_bytes(way.tls.pem)
        variables["CERTIFICATE"] = str(certificate)
    async with (
        running(
            *(sys.executable, *way.python, "-u", "-m", "examples.deployment.serve"),
            output=folder / "log",
            environment=environment(receiver, **variables),
        ) as program,
        crowd(way.tls) as visitors,
    ):
        await program.prints("Running on")
        scheme = "http" if way.tls is None else "https"
        url = f"{scheme}://127.0.0.1:{port}/graphql"
        yield Server(program.process, program.output, url, visitors)


class Crowd:
    """Clients with a live subscription each."""

    def __init__(self, session: aiohttp.ClientSession, tls: TLS | None) -> None:
        self._session = session
        self._trust = True if tls is None else tls.client
        self.sockets: list[aiohttp.ClientWebSocketResponse] = []

    async def joins(
        self, url: str, number: int = 1, headers: Mapping[str, str] | None = None
    ) -> None:
        """Let so many more subscribe, and get their first result."""
        for _ in range(number):
            self.sockets.append(await self._subscribed(url, headers))

    async def _subscribed(
        self, url: str, headers: Mapping[str, str] | None
    ) -> aiohttp.ClientWebSocketResponse:
        async with asyncio.timeout(PATIENCE):
            ws = await self._session.ws_connect(
                url, protocols=["graphql-transport-ws"], headers=headers, ssl=self._trust
            )
            await ws.send_json({"type": "connection_init"})
            assert (await ws.receive_json())["type"] == "connection_ack"
            await ws.send_json({"id": "1", "type": "subscribe", "payload": {"query": COUNT}})
            assert (await ws.receive_json())["type"] == "next"
            return ws

    async def sent_away(self) -> list[int | None]:
        """Wait until the server has ended each connection; return the codes that clients saw."""
        async with asyncio.timeout(PATIENCE):
            # At once: who waits to be read may get an end without the close frame before it.
            return await asyncio.gather(*map(_close_code, self.sockets))

    async def leaves(self) -> None:
        """Close all, normally, from the client's side."""
        for ws in self.sockets:
            await ws.close()
        self.sockets.clear()


async def _close_code(ws: aiohttp.ClientWebSocketResponse) -> int | None:
    while (message := await ws.receive()).type is aiohttp.WSMsgType.TEXT:
        """Results."""
    # Who reads a close frame too late to answer it has 1006 for his own `close_code`.
    return message.data if message.type is aiohttp.WSMsgType.CLOSE else ws.close_code


@asynccontextmanager
async def crowd(tls: TLS | None = None) -> AsyncIterator[Crowd]:
    """Clients for as long as the block runs, who trust that certificate."""
    async with open_session() as session:
        yield Crowd(session, tls)
