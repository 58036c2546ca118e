"""A process of its own that does jobs, one after the other.

A job is a line of JSON on its standard input: the name of a method and its arguments. The answer is
a line of JSON on its standard output: what the method returns.
"""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

LIMIT: Final = 600
"""Seconds within which any job must be done."""


class Worker:
    """Such a process, as the one sees it that started it."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def do(self, job: str, **arguments: object) -> Any:
        """Have it call that method; return what it returns.

        Raises:
            RuntimeError: it died; it has said why.
            TimeoutError: it took longer than any job may.
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"job": job, **arguments}).encode() + b"\n")
        async with asyncio.timeout(LIMIT):
            answer = await process.stdout.readline()
        if not answer:
            raise RuntimeError(f"a process died of {job}")
        return json.loads(answer)


@asynccontextmanager
async def working(module: str, *arguments: str) -> AsyncIterator[Worker]:
    """Run a module as such a process, and end it with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdin=PIPE, stdout=PIPE
    )
    try:
        yield Worker(process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def answer_jobs(methods: object) -> None:
    """In that process: do jobs with the methods of an object until there are no more."""
    jobs = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(jobs), sys.stdin
    )
    while line := await jobs.readline():
        job: dict[str, Any] = json.loads(line)
        answer = await getattr(methods, job.pop("job"))(**job)
        print(json.dumps(answer), flush=True)  # noqa: T201  # the answer
