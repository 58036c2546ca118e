"""Python's development mode has nothing to complain of, and we would hear it."""

import json
import sys
from pathlib import Path

import pytest

from tests.deployment.programs import STRICT, running

pytestmark = pytest.mark.slow

BLOCKING = """
import asyncio
from strawberry_ws_otel._limits import utf8_size

async def block():
    loop = asyncio.get_running_loop()
    loop.slow_callback_duration = 0
    loop.call_soon(utf8_size, "")
    await asyncio.sleep(0)

asyncio.run(block())
"""
DESTROYED = """
import asyncio

loop = asyncio.new_event_loop()
loop.create_task(asyncio.sleep(1))
loop.run_until_complete(asyncio.sleep(0))
loop.close()
"""


@pytest.mark.parametrize(
    ("how", "complaints"), [([], []), (["segments"], []), (["leak"], ["ResourceWarning"])]
)
async def test_conversations_leave_no_warning(
    how: list[str], complaints: list[str], tmp_path: Path
) -> None:
    command = (sys.executable, *STRICT, "-m", "tests.deployment.conversing", *how)
    async with running(*command, output=tmp_path / "log") as program:
        assert await program.ends() == 0, program.printed
    assert json.loads(program.printed) == complaints


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        ("import socket; socket.socket()", "ResourceWarning: unclosed"),
        ("async def f(): pass\nf()", "RuntimeWarning: coroutine 'f' was never awaited"),
        ("import warnings; warnings.warn('old', FutureWarning)", "FutureWarning: old"),
        (DESTROYED, "Task was destroyed but it is pending!"),
        (BLOCKING, "Executing <Handle utf8_size"),
    ],
    ids=["open", "unawaited", "warning", "destroyed", "slow"],
)
async def test_what_python_complains_of_is_heard(
    program: str, complaint: str, tmp_path: Path
) -> None:
    async with running(sys.executable, *STRICT, "-c", program, output=tmp_path / "log") as python:
        await python.ends()
    [heard] = python.complaints
    assert heard.startswith(complaint)
