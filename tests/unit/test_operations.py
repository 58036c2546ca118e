"""Whose a message is where several operations of one id are at work."""

from collections.abc import Iterator

import pytest

from strawberry_ws_otel._protocol import GRAPHQL_TRANSPORT_WS
from tests.recorded import config
from tests.talk import QUERY, Place, Talk
from tests.telemetry import Telemetry, attributes_of


@pytest.fixture
def talk(telemetry: Telemetry) -> Iterator[Talk]:
    talk = Talk(config(telemetry))
    talk.opens(GRAPHQL_TRANSPORT_WS)
    yield talk
    assert not talk.fuse.blown


def ends(telemetry: Telemetry) -> list[tuple[str, int]]:
    """Why each operation has ended, and how many results it had, in the order of the ends."""
    found = map(attributes_of, telemetry.spans())
    return [
        (each["graphql.ws.operation.end_reason"], each["graphql.ws.results"])
        for each in found
        if "graphql.ws.operation.id" in each
    ]


async def test_the_id_of_stopped_operations_is_shared_until_all_their_tasks_are_done(
    talk: Talk, telemetry: Telemetry
) -> None:
    stop = {"type": "complete", "id": "a"}
    first = talk.starts()
    talk.handles(stop)
    second = talk.starts()
    talk.handles(stop)

    third = talk.begins()
    talk.served(first)
    talk.delivers(within=Place())
    talk.handled()
    talk.serves(third)
    talk.served(second)
    talk.delivers(within=third)
    talk.is_closed()

    assert ends(telemetry) == [
        ("client_completed", 0),
        ("client_completed", 0),
        ("connection_closed", 1),
    ]


async def test_a_method_that_calls_the_hosts_again_serves_one_operation(
    talk: Talk, telemetry: Telemetry
) -> None:
    conversation = talk.connection.conversation
    task = talk.starts()
    again = task.run(conversation.running, "a", QUERY, None, talk.request)
    talk.delivers(within=task)
    talk.says("complete", id="a", within=task)
    task.run(conversation.ran, again, None)
    talk.served(task)
    talk.is_closed()

    assert ends(telemetry) == [("completed", 1)]
