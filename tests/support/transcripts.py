"""All that can be observed of a conversation, to be compared without the library and with it."""

import asyncio
import gc
import logging
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import pytest

from tests.support.cases import BARE, Arm, Case, Played, converse, traced
from tests.support.event_loop import Run
from tests.support.frames import Frame
from tests.support.telemetry import Telemetry

KEEP_ALIVE = (b'{"type":"ka"}', b'{"type": "ka"}')

HOSTS = ("aiohttp", "strawberry", "asyncio")


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
    """The class of the exception in a log record."""
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
    case: Case,
    run: Run[Any],
    telemetry: Telemetry,
    caplog: pytest.LogCaptureFixture,
    **options: Any,
) -> None:
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider, **options)
    assert play(case, arm, run, caplog) == play(case, BARE, run, caplog)


Transcripts = dict[str, dict[str, Any]]
"""What there is to see of each conversation: bytes, closes, tasks, log of the host."""


class Comparison:
    """The same conversations on both servers."""

    def __init__(
        self,
        cases: Sequence[Case],
        bare: Transcripts,
        run: Run[Any],
        log: pytest.LogCaptureFixture,
    ) -> None:
        """`bare` keeps what was played without the library by a test before."""
        self._cases = cases
        self._run = run
        self._log = log
        self._bare = bare

    @property
    def bare(self) -> Transcripts:
        """All of them without the library."""
        return {str(case): self.bare_of(case) for case in self._cases}

    def bare_of(self, case: Case) -> dict[str, Any]:
        """What a conversation is without the library, which is played once a module."""
        if str(case) not in self._bare:
            self._bare[str(case)] = self.once(case, BARE)
        return self._bare[str(case)]

    def play(self, arm: Arm) -> Transcripts:
        return {str(case): self.once(case, arm) for case in self._cases}

    def once(self, case: Case, arm: Arm) -> dict[str, Any]:
        return play(case, arm, self._run, self._log)
