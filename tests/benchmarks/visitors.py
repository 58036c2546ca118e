"""The server process's side of the client: it is started here, and given jobs."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

LIMIT: Final = 600
"""Seconds within which any job must be done."""


class Visitors:
    """The client process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def do(self, job: str, **arguments: object) -> Any:
        """Have the client call that method of its `Client`; return what it returns.

        Raises:
            RuntimeError: the client died; it has said why.
            TimeoutError: it took longer than any job may.
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"job": job, **arguments}).encode() + b"\n")
        async with asyncio.timeout(LIMIT):
            answer = await process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the client died of {job}")
        return json.loads(answer)


@asynccontextmanager
async def visitors() -> AsyncIterator[Visitors]:
    """Start the client, and end it with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.client", stdin=PIPE, stdout=PIPE
    )
    try:
        yield Visitors(process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
