"""Several processes under gunicorn: each reports its own connections, whatever ends it."""

import asyncio
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from strawberry_ws_otel import _semconv as name
from tests.deployment.programs import (
    OURS,
    ROOT,
    Crowd,
    Program,
    crowd,
    environment,
    running,
    until,
)
from tests.deployment.receiver import Receiver, settled
from tests.support.ports import free_port

pytestmark = pytest.mark.slow

pytest.importorskip("gunicorn", reason="gunicorn needs fork")

CONFIGURATION = ROOT / "examples" / "deployment" / "gunicorn.conf.py"
SERVED = 12


@dataclass(frozen=True)
class Gunicorn:
    """A master that runs with its workers, and who talks to them."""

    program: Program
    visitors: Crowd
    url: str
    receiver: Receiver

    @property
    def workers(self) -> list[int]:
        """The processes of all workers so far, in the order in which they were ready."""
        return [
            int(pid) for pid in re.findall(r"Worker ready \(pid: (\d+)\)", self.program.printed)
        ]

    async def has_had(self, number: int) -> None:
        await self.program.prints("Worker ready", number)

    async def visited_by(self, number: int) -> None:
        """Let so many subscribe."""
        await self.visitors.joins(self.url, number)

    def accounts(self) -> dict[int, Counter[str]]:
        """The outcomes by the process that reported them; none lost anything."""
        accounts = {}
        for instance in self.receiver.instances:
            account = self.receiver.account(instance)
            assert account == settled(account.spans)
            accounts[int(instance.rpartition("-")[2])] = account.spans
        return accounts


@asynccontextmanager
async def gunicorn(
    receiver: Receiver, folder: Path, *options: str, workers: int = 2
) -> AsyncIterator[Gunicorn]:
    """Run the example's configuration, on a port of our own, until the block ends."""
    port = free_port()
    async with (
        running(
            *(sys.executable, "-m", "gunicorn", "--config", str(CONFIGURATION)),
            *("--bind", f"127.0.0.1:{port}", "--workers", str(workers), *options),
            output=folder / "log",
            environment=environment(receiver, HOME=str(folder)),
        ) as program,
        crowd() as visitors,
    ):
        master = Gunicorn(program, visitors, f"http://127.0.0.1:{port}/graphql", receiver)
        await master.has_had(workers)
        yield master


def together(accounts: Iterable[Counter[str]]) -> Counter[str]:
    return sum(accounts, Counter())


@pytest.mark.parametrize(
    ("preload", "worker"),
    [
        ((), "aiohttp.GunicornWebWorker"),
        (("--preload",), "aiohttp.GunicornUVLoopWebWorker"),
        pytest.param((), "aiohttp.GunicornUVLoopWebWorker", marks=pytest.mark.matrix),
        pytest.param(("--preload",), "aiohttp.GunicornWebWorker", marks=pytest.mark.matrix),
    ],
)
async def test_each_worker_that_is_stopped_reports_its_own_connections(
    preload: tuple[str, ...], worker: str, receiver: Receiver, tmp_path: Path
) -> None:
    async with gunicorn(receiver, tmp_path, "--worker-class", worker, *preload) as master:
        await master.visited_by(SERVED)
        codes, status = await asyncio.gather(
            master.visitors.sent_away(), master.program.receives(signal.SIGTERM)
        )
        assert (status, codes) == (0, [1001] * SERVED)
        assert master.accounts().keys() == set(master.workers)
        assert together(master.accounts().values()) == Counter(server_shutdown=SERVED)
        assert OURS not in master.program.printed


async def test_a_reload_sends_the_clients_away_and_new_workers_report_new_ones(
    receiver: Receiver, tmp_path: Path
) -> None:
    async with gunicorn(receiver, tmp_path) as master:
        await master.visited_by(SERVED)
        master.program.process.send_signal(signal.SIGHUP)
        assert await master.visitors.sent_away() == [1001] * SERVED
        await master.has_had(4)
        await until(lambda: len(receiver.done) == 2, "the old workers have exported")
        assert together(master.accounts().values()) == Counter(server_shutdown=SERVED)
        old, new = set(master.workers[:2]), set(master.workers[2:])
        assert master.accounts().keys() == old

        master.visitors.sockets.clear()
        await master.visited_by(SERVED)
        await master.visitors.leaves()
        assert await master.program.receives(signal.SIGTERM) == 0
        accounts = master.accounts()
        assert accounts.keys() == old | new
        assert together(accounts[pid] for pid in new) == Counter(normal=SERVED)


async def test_a_worker_that_has_served_its_share_reports_all_of_it(
    receiver: Receiver, tmp_path: Path
) -> None:
    async with gunicorn(receiver, tmp_path, "--max-requests", "3", workers=1) as master:
        await master.visited_by(4)
        assert await master.visitors.sent_away() == [1001] * 4
        await master.has_had(2)
        await until(lambda: bool(receiver.done), "the old worker has exported")
        assert master.accounts() == {master.workers[0]: Counter(server_shutdown=4)}
        assert await master.program.receives(signal.SIGTERM) == 0


async def test_a_worker_that_hangs_is_killed_and_its_unreported_telemetry_is_lost(
    receiver: Receiver, tmp_path: Path
) -> None:
    async with gunicorn(receiver, tmp_path, "--preload", "--timeout", "2", workers=1) as master:
        await master.visited_by(SERVED)
        os.kill(master.workers[0], signal.SIGSTOP)
        assert await master.visitors.sent_away() == [1006] * SERVED
        await master.has_had(2)
        await master.program.prints("WORKER TIMEOUT")

        master.visitors.sockets.clear()
        await master.visited_by(1)
        await master.visitors.leaves()
        assert await master.program.receives(signal.SIGTERM) == 0
        assert master.accounts() == {master.workers[1]: Counter(normal=1)}
        assert len(receiver.spans(name.SPAN_CONNECTION)) == 1
