"""gql for Python: what its user sees is right, and so is what is told of it."""

import pytest

from tests.clients.conversations import Conversation, spoken_by
from tests.clients.gql_client import GQL
from tests.clients.holding import hold
from tests.clients.model import Kind
from tests.support.log import LogKeeper
from tests.support.telemetry import Telemetry

TABLE = list(spoken_by(GQL))


@pytest.mark.parametrize(
    ("kind", "conversation"), TABLE, ids=[f"{kind}: {conversation}" for kind, conversation in TABLE]
)
async def test_the_truth_about_a_conversation(
    kind: Kind, conversation: Conversation, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    await hold(conversation, kind, telemetry, library_log)
