"""The twins that every fault is tried on."""

from typing import Any

import pytest

from tests.support.event_loop import Run
from tests.support.faults.conversations import TALKS
from tests.support.transcripts import Comparison, Transcripts


@pytest.fixture
def twins(
    frozen_garbage: None, bare: Transcripts, run: Run[Any], caplog: pytest.LogCaptureFixture
) -> Comparison:
    return Comparison(TALKS, bare, run, caplog)
