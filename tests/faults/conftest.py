"""The twins that every fault is tried on."""

from typing import Any

import pytest

from tests.conftest import Run
from tests.faults.talks import Twins


@pytest.fixture
def twins(frozen_garbage: None, run: Run[Any], caplog: pytest.LogCaptureFixture) -> Twins:
    return Twins(run, caplog)
