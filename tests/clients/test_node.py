"""GraphQL clients on Node: what their users see is right, and so is what is recorded of them."""

from dataclasses import replace

import pytest

from tests.clients import habits
from tests.clients.conversations import Conversation, spoken_by
from tests.clients.holding import play_and_assert
from tests.clients.model import Kind
from tests.clients.node import GRAPHQL_WS, NODE, SUBSCRIPTIONS_TRANSPORT_WS
from tests.support.log import LogKeeper
from tests.support.telemetry import Telemetry

pytestmark = pytest.mark.tools("node")

RETRIES = replace(habits.COMES_AGAIN, options={"retryAttempts": 1})
RECONNECTS = replace(habits.COMES_AGAIN, options={"reconnect": True})
TABLE = [
    *spoken_by(NODE),
    *((GRAPHQL_WS, conversation) for conversation in (habits.KILLED, *habits.GRAPHQL_WS, RETRIES)),
    (SUBSCRIPTIONS_TRANSPORT_WS, habits.KILLED),
    (SUBSCRIPTIONS_TRANSPORT_WS, RECONNECTS),
]


@pytest.mark.parametrize(
    ("kind", "conversation"), TABLE, ids=[f"{kind}: {conversation}" for kind, conversation in TABLE]
)
async def test_a_conversation_is_recorded_as_it_happened(
    kind: Kind, conversation: Conversation, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    await play_and_assert(conversation, kind, telemetry, library_log)
