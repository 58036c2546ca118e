"""Fixtures of the tests of deployments."""

from collections.abc import Iterator

import pytest

from tests.deployment.receiver import Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of OTLP."""
    with receiving() as receiver:
        yield receiver
