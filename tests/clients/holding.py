"""Holds a conversation with a real client, and compares what is recorded with what happened."""

import json
from typing import Any

from strawberry_ws_otel import _semconv as name
from tests.clients.conversations import Conversation, is_served
from tests.clients.model import Kind, RealClient
from tests.support.assertions import (
    OPERATIONS,
    assert_closes,
    assert_log,
    assert_whole,
    expected_connection,
    expected_operations,
    recorded_connection,
    recorded_operation,
)
from tests.support.cases import traced
from tests.support.log import LogKeeper
from tests.support.scenarios.model import Ending
from tests.support.server import PATH, serving
from tests.support.telemetry import Telemetry, attributes_of


async def play_and_assert(
    conversation: Conversation, kind: Kind, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    async with serving(conversation.setup, arm.view_class, arm.extensions) as server:
        url = f"ws://127.0.0.1:{server.port}{PATH}"
        async with kind.connect(url, conversation.options) as client:
            await conversation.talk(client, server)
            await is_served(server)
    endings = conversation.expected(kind)
    assert_seen(client, conversation, endings)
    errors = len(conversation.errors) + conversation.unseen
    assert_recorded(telemetry, endings, kind.protocol, errors)
    assert_log(library_log, *(ending.verdict for ending in endings))


def assert_seen(
    client: RealClient, conversation: Conversation, endings: tuple[Ending, ...]
) -> None:
    """The user got the data and the errors, and the codes of the closes that he waited for."""
    seen = client.seen
    data = [what["data"] for what in seen if what.get("data") is not None]
    errors = [error for what in seen for error in what.get("errors", ())]
    assert sorted(map(_json, data)) == sorted(map(_json, conversation.data))
    assert errors == list(conversation.errors)
    codes = [what["code"] for what in seen if what["saw"] == "closed" and "code" in what]
    for code, ending in zip(codes, endings, strict=False):
        # Of either frame: aiohttp answers any code with 1000.
        assert code in (ending.verdict.code, ending.verdict.sent)


def _json(data: Any) -> str:
    return json.dumps(data, sort_keys=True)


def assert_recorded(
    telemetry: Telemetry, endings: tuple[Ending, ...], protocol: str, errors: int = 0
) -> None:
    """Spans and metrics say how each connection and each operation ended, and nothing else."""
    connections = telemetry.spans(name.SPAN_CONNECTION)
    assert len(connections) == len(endings)
    for span, ending in zip(connections, endings, strict=True):
        assert recorded_connection(span) == expected_connection(ending)
        attributes = attributes_of(span)
        assert attributes[name.SUBPROTOCOL] == protocol
        operations = [
            operation
            for operation in telemetry.spans(*OPERATIONS)
            if attributes_of(operation)[name.CONNECTION_ID] == attributes[name.CONNECTION_ID]
        ]
        recorded = [recorded_operation(operation) for operation in operations]
        assert recorded == expected_operations(ending, operations)
    counts = [attributes_of(span).get(name.ERROR_COUNT, 0) for span in telemetry.spans(*OPERATIONS)]
    assert sum(counts) == errors
    assert_closes(telemetry, *(ending.verdict for ending in endings))
    assert_whole(telemetry)
