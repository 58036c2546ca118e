"""The conversation is the same with and without the library: each byte, each close, each task."""

import asyncio
import gc
import logging
import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest

from tests.conftest import Run
from tests.support.broken_api import PIPES, broken_propagator
from tests.support.cases import BARE, CASES, REPRESENTATIVE, Arm, Case, Played, converse, traced
from tests.support.frames import Frame
from tests.support.telemetry import Telemetry

KEEP_ALIVE = (b'{"type":"ka"}', b'{"type": "ka"}')
HOSTS = ("aiohttp", "strawberry", "asyncio")
ONE_EACH = {
    case.scenario.name: case for case in REPRESENTATIVE if not case.scenario.floods
}.values()


pytestmark = pytest.mark.usefixtures("frozen_garbage")


def mask(text: bytes) -> bytes:
    """Take out what differs from run to run: dates, names of tasks, addresses."""
    return re.sub(rb"Date: [^\r]+|Task-\d+|0x[0-9a-f]+", b"...", text)


def without_runs(frames: list[Frame]) -> Iterator[Frame]:
    """How many keep-alive messages fit into a conversation is up to the clock."""
    for frame, run in groupby(frames):
        yield from [frame] if frame.payload in KEEP_ALIVE else run


def transcript(case: Case, played: Played, log: pytest.LogCaptureFixture) -> dict[str, Any]:
    """Everything about a conversation that could differ, in values that compare."""
    client = played.client
    frames = [frame._replace(payload=mask(frame.payload)) for frame in without_runs(client.frames)]
    return {
        "handshake": (mask(client.head), client.body),
        "frames": frames[:2] if case.scenario.floods else frames,
        "host": played.server.closes,
        "tasks": played.tasks,
        "log": [
            (
                record.name,
                record.levelname,
                mask(record.getMessage().encode(errors="backslashreplace")),
                kind(record),
            )
            for record in log.records
            if record.name.partition(".")[0] in HOSTS and not is_finaliser(record)
        ],
    }


def is_finaliser(record: logging.LogRecord) -> bool:
    """Whether a loop that ends said it, of generators that it closes in any order."""
    return kind(record) == "RuntimeError" and "generator" in record.getMessage()


def kind(record: logging.LogRecord) -> str | None:
    """The class of the exception that a record tells of."""
    return record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None


async def settled(case: Case, arm: Arm) -> Played:
    """Play a case, and let the loop say what it has to say about what is left of it."""
    played = await converse(case, arm)
    gc.collect()
    await asyncio.sleep(0)
    return played


def play(case: Case, arm: Arm, run: Run[Any], log: pytest.LogCaptureFixture) -> dict[str, Any]:
    log.clear()
    return transcript(case, run(settled(case, arm)), log)


def compare(
    case: Case, run: Run[Any], telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    assert play(case, arm, run, caplog) == play(case, BARE, run, caplog)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_nobody_can_tell_from_the_conversation(
    case: Case, run: Run[Any], telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    compare(case, run, telemetry, caplog)


@pytest.mark.parametrize("run", ["uvloop"], indirect=True)
@pytest.mark.parametrize("case", REPRESENTATIVE, ids=str)
def test_nobody_can_tell_on_uvloop(
    case: Case, run: Run[Any], telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    compare(case, run, telemetry, caplog)


@pytest.mark.internal_error
@pytest.mark.parametrize("pipe", PIPES)
@pytest.mark.parametrize("case", ONE_EACH, ids=str)
def test_a_broken_pipe_changes_nothing_for_the_client(
    case: Case, pipe: str, run: Run[Any], caplog: pytest.LogCaptureFixture
) -> None:
    broken = PIPES[pipe]()
    arm = traced(broken.tracer_provider, broken.meter_provider)
    assert play(case, arm, run, caplog) == play(case, BARE, run, caplog)
    assert broken.ledger.calls


@pytest.mark.internal_error
@pytest.mark.parametrize("case", ONE_EACH, ids=str)
def test_a_broken_propagator_changes_nothing_for_the_client(
    case: Case, run: Run[Any], telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    bare = play(case, BARE, run, caplog)
    with broken_propagator() as ledger:
        arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
        assert play(case, arm, run, caplog) == bare
    assert ledger.calls
