"""gql for Python: what its user sees is right, and so is what is recorded of it."""

import pytest

from tests.clients.conversations import Conversation, spoken_by
from tests.clients.gql_client import GQL
from tests.clients.holding import play_and_assert
from tests.clients.model import Kind
from tests.support.log import LogKeeper
from tests.support.telemetry import Telemetry

TABLE = list(spoken_by(GQL))


@pytest.mark.parametrize(
    ("kind", "conversation"), TABLE, ids=[f"{kind}: {conversation}" for kind, conversation in TABLE]
)
async def test_a_conversation_is_recorded_as_it_happened(
    kind: Kind, conversation: Conversation, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    await play_and_assert(conversation, kind, telemetry, library_log)
