"""The twins that every fault is tried on."""

from typing import Any

import pytest

from tests.support.event_loop import Run
from tests.support.faults.conversations import TALKS
from tests.support.transcripts import Transcripts, Twins


@pytest.fixture
def twins(
    frozen_garbage: None, bare: Transcripts, run: Run[Any], caplog: pytest.LogCaptureFixture
) -> Twins:
    return Twins(TALKS, bare, run, caplog)
