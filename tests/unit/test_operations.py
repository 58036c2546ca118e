"""Whose a message is where several operations of one id are at work."""

from collections.abc import Iterator

import pytest

from strawberry_ws_otel._protocol import GRAPHQL_TRANSPORT_WS
from tests.support.fake_connection import QUERY, FakeConnection, Place
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import config


@pytest.fixture
def connection(telemetry: Telemetry) -> Iterator[FakeConnection]:
    connection = FakeConnection(config(telemetry))
    connection.opens(GRAPHQL_TRANSPORT_WS)
    yield connection
    assert not connection.fuse.blown


def ends(telemetry: Telemetry) -> list[tuple[str, int]]:
    """Why each operation has ended, and how many results it had, in the order of the ends."""
    found = map(attributes_of, telemetry.spans())
    return [
        (each["graphql.ws.operation.end_reason"], each["graphql.ws.results"])
        for each in found
        if "graphql.ws.operation.id" in each
    ]


async def test_the_id_of_stopped_operations_is_shared_until_all_their_tasks_are_done(
    connection: FakeConnection, telemetry: Telemetry
) -> None:
    stop = {"type": "complete", "id": "a"}
    first = connection.starts()
    connection.handles(stop)
    second = connection.starts()
    connection.handles(stop)

    third = connection.begins()
    connection.served(first)
    connection.delivers(within=Place())
    connection.handled()
    connection.serves(third)
    connection.served(second)
    connection.delivers(within=third)
    connection.is_closed()

    assert ends(telemetry) == [
        ("client_completed", 0),
        ("client_completed", 0),
        ("connection_closed", 1),
    ]


async def test_a_method_that_calls_the_hosts_again_serves_one_operation(
    connection: FakeConnection, telemetry: Telemetry
) -> None:
    recorded = connection.connection
    task = connection.starts()
    again = task.run(recorded.operation_running, "a", QUERY, None, connection.request)
    connection.delivers(within=task)
    connection.says("complete", id="a", within=task)
    task.run(recorded.operation_ran, again, None)
    connection.served(task)
    connection.is_closed()

    assert ends(telemetry) == [("completed", 1)]
