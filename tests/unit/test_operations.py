"""Which operation of a connection a message, a task or an execution belongs to."""

import asyncio
import json
from typing import Any

import pytest

from strawberry_ws_otel._close import CloseFrame, Facts, Initiator, verdict
from strawberry_ws_otel._operation import Event, SocketOperation, State
from strawberry_ws_otel._operations import Execution, Operations, unclaimed
from strawberry_ws_otel._protocol import GRAPHQL_TRANSPORT_WS, GRAPHQL_WS, Message, vocabulary
from tests.support.fake_connection import QUERY, FakeConnection, Place, operation_in
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import config

WORDS, LEGACY = vocabulary(GRAPHQL_TRANSPORT_WS), vocabulary(GRAPHQL_WS)
NEXT = {"type": "next", "id": "a"}
COMPLETE = WORDS.sent["complete"]
STOPPED = WORDS.received["complete"]
CLOSE = verdict(Facts(upgraded=True, received=CloseFrame(1000), initiator=Initiator.CLIENT))


@pytest.fixture
def talk(telemetry: Telemetry) -> FakeConnection:
    talk = FakeConnection(config(telemetry))
    talk.accept(GRAPHQL_TRANSPORT_WS)
    return talk


@pytest.fixture
def operations(talk: FakeConnection) -> Operations:
    return talk.connection._operations


def first(id_: Any = "a", document: Any = QUERY) -> Message:
    return WORDS.read({"type": "subscribe", "id": id_, "payload": {"query": document}})


def as_sent(document: str) -> Any:
    """A document as each message brings it: an object of its own."""
    return json.loads(json.dumps(document))


def execution(
    document: Any, name: Any = None, *, is_stream: bool = True, is_hosts: bool = True
) -> Execution:
    return Execution(document, name, lambda: is_stream, lambda: is_hosts)


def begun(
    operations: Operations, id_: Any = "a", *events: Event, document: Any = QUERY
) -> SocketOperation:
    operation = operations.begin(first(id_, document), WORDS)
    for event in events:
        assert operation.fire(event)
    return operation


# --- Ids ---------------------------------------------------------------------------------------


def test_an_id_belongs_to_the_operation_that_has_it_first(operations: Operations) -> None:
    own = begun(operations)
    duplicate = operations.begin(first(), WORDS)
    assert operations.sender(NEXT) is own
    assert operations.results_by_unique_id == {"a": own.results}
    assert operations.connection_closed(CLOSE) == 1
    assert (own.end_reason, duplicate.end_reason) == ("connection_closed", "rejected")
    assert operations.begun == 2


def test_a_look_shows_those_that_are_open_oldest_first(operations: Operations) -> None:
    first_, second = begun(operations, "a"), begun(operations, "b")
    assert operations.look() == [first_.look(), second.look()]
    first_.fire(Event.STOP, STOPPED)
    assert operations.look() == [second.look()]


def test_a_legacy_start_takes_the_id_over(operations: Operations) -> None:
    own = begun(operations)
    restarted = operations.begin(first(), LEGACY)
    assert (own.end_reason, operations.sender(NEXT)) == ("client_completed", restarted)
    # Whoever served the one before may still be sending.
    assert operations.results_by_unique_id == {}


def test_an_id_is_free_as_soon_as_complete_is_said(operations: Operations) -> None:
    own = begun(operations, "a", Event.HANDLE, Event.RUN)
    assert operations.last_message_sent({"type": "complete", "id": "a"}, COMPLETE)
    reused = operations.begin(first(), WORDS)
    assert operations.results_by_unique_id == {"a": reused.results}
    operations.ran(own, None)
    assert (own.end_reason, operations.sender(NEXT)) == ("completed", reused)


def test_an_id_that_was_believed_in_use_is_the_one_of_the_operation_that_runs(
    operations: Operations,
) -> None:
    begun(operations)
    other = begun(operations, "a", Event.HANDLE)
    operations.run(other, QUERY, None)
    assert operations.sender(NEXT) is other
    # Whoever had it before may still be sending.
    assert operations.results_by_unique_id == {}


def test_an_id_winds_down_until_the_last_task_that_may_send_with_it_is_done(
    talk: FakeConnection, operations: Operations
) -> None:
    stopped = []
    for _ in range(2):
        operation = begun(operations, "a", Event.HANDLE, Event.RUN)
        assert operations.stop(WORDS.read({"type": "complete", "id": "a"}))
        stopped.append(operation)
    new = begun(operations)
    for left, operation in zip((2, 1), stopped, strict=True):
        assert operations.winding_down == {"a": left}
        # The host awaits the end of those before, who say their last words.
        assert operations.sender(NEXT) is None
        operations.ran(operation, asyncio.CancelledError())
    assert operations.winding_down == {}
    assert operations.sender(NEXT) is new


def test_what_a_task_sends_is_its_operations_though_the_id_is_anothers(
    talk: FakeConnection, operations: Operations
) -> None:
    task = talk.start_operation()
    operation = operation_in(task)
    talk.receive_and_handle({"type": "complete", "id": "a"})
    new = begun(operations)
    assert task.run(operations.sender, NEXT) is operation
    assert task.run(operations.sender, {"type": "next", "id": "b"}) is None
    assert new.fire(Event.EXECUTE)
    assert operations.sender(NEXT) is new


@pytest.mark.parametrize("id_", [[], {}])
def test_what_no_operation_can_have_for_an_id_is_nobodys(id_: Any, operations: Operations) -> None:
    begun(operations)
    assert operations.sender({"type": "next", "id": id_}) is None


def test_a_message_of_no_operation_ends_none(operations: Operations) -> None:
    assert not operations.last_message_sent({"type": "complete", "id": "a"}, COMPLETE)
    assert not operations.last_message_sent({"type": "error", "id": "a"}, WORDS.sent["error"])
    assert not operations.stop(WORDS.read({"type": "complete", "id": "a"}))


# --- First messages ----------------------------------------------------------------------------


def test_a_message_is_handled_for_the_operation_that_it_began(operations: Operations) -> None:
    messages = [first(), first(), first("b")]
    own = [operations.begin(message, WORDS) for message in messages]
    assert [operations.to_handle(message) for message in messages] == own


def test_a_message_that_was_rewritten_is_handled_for_the_first_of_its_id_that_waits(
    operations: Operations,
) -> None:
    own = [begun(operations, id_) for id_ in ("b", "a", "a")]
    assert operations.to_handle(first()) is own[1]
    assert operations.to_handle(first("c")) is None


def test_only_the_newest_hundred_wait_to_be_handled(operations: Operations) -> None:
    own = [begun(operations, str(number)) for number in range(150)]
    assert list(operations.waiting) == own[50:]


# --- Tasks -------------------------------------------------------------------------------------


def test_a_task_runs_the_operation_that_it_was_started_for_else_the_newest_of_the_id(
    talk: FakeConnection, operations: Operations
) -> None:
    task = talk.begin_operation()
    own = operation_in(task)
    newest = begun(operations)
    assert task.run(operations.to_run, "a") is own
    assert operations.to_run("a") is newest
    assert task.run(operations.to_run, "b") is None
    assert newest.fire(Event.RUN)
    assert operations.to_run("a") is own


def test_a_method_that_calls_itself_with_the_document_that_it_has_looked_up_serves_that_one(
    operations: Operations,
) -> None:
    operation = begun(operations, "a", Event.HANDLE, document="#id")
    operations.run(operation, "#id", None)
    operations.run(operation, "{ found }", "Found")
    assert (operation.document, operation.name) == ("{ found }", "Found")
    operation.fire(Event.STOP, STOPPED)
    operations.run(operation, "{ late }", "Late")
    assert (operation.document, operation.name) == ("{ found }", "Found")


def test_an_operation_that_was_stopped_before_it_is_handled_does_not_send_for_its_namesake(
    telemetry: Telemetry, talk: FakeConnection
) -> None:
    subscribe = {"type": "subscribe", "id": "a", "payload": {"query": QUERY}}
    talk.receive(subscribe)
    talk.receive({"type": "complete", "id": "a"})
    again = {**subscribe, "payload": {"query": QUERY}}
    talk.receive(again)
    first_task = talk.begin_handling(subscribe)
    talk.end_handling()
    talk.begin_serving(first_task)
    talk.send_result(within=first_task)
    talk.send("complete", id="a", within=first_task)
    second_task = talk.begin_handling(again)
    talk.end_handling()
    talk.begin_serving(second_task)
    talk.send_result(within=second_task)
    talk.end_serving(second_task)
    talk.send("complete", id="a", within=second_task)
    talk.close_by_client()
    assert ends(telemetry) == [("client_completed", 0), ("completed", 1)]


def test_an_operation_that_is_served_without_a_document_keeps_its_name(
    operations: Operations,
) -> None:
    payload = {"query": QUERY, "operationName": "N"}
    message = WORDS.read({"type": "subscribe", "id": "a", "payload": payload})
    operation = operations.begin(message, WORDS)
    operations.run(operation, None, None)
    assert (operation.document, operation.name, operation.state) == (QUERY, "N", State.RUNNING)


COURSES: dict[str, tuple[BaseException | None, bool, State]] = {
    # what leaves the method, whether the connection closes, and the state after it
    "it returns": (None, False, State.RETURNED),
    "it raises": (ValueError(), False, State.GONE),
    "it raises as the connection closes": (ValueError(), True, State.RETURNED),
    "it is cancelled": (asyncio.CancelledError(), False, State.CANCELLED),
    "it is cancelled as the connection closes": (asyncio.CancelledError(), True, State.RETURNED),
}


@pytest.mark.parametrize("what", COURSES)
def test_how_the_hosts_method_ends_is_told_to_its_operation(
    what: str, operations: Operations
) -> None:
    error, operations.is_closing, state = COURSES[what]
    operation = begun(operations, "a", Event.HANDLE, Event.RUN)
    operations.ran(operation, error)
    assert operation.state is state


async def test_a_method_that_returns_although_its_task_is_cancelled_was_cancelled(
    operations: Operations,
) -> None:
    operation = begun(operations, "a", Event.HANDLE, Event.RUN)

    async def swallow() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            operations.ran(operation, None)

    task = asyncio.create_task(swallow())
    await asyncio.sleep(0)
    task.cancel()
    await task
    assert (operation.state, operations.has_cancelled) == (State.CANCELLED, True)
    operations.fail_cancelled()
    assert (operation.end_reason, operations.has_cancelled) == ("failed", False)


@pytest.mark.parametrize(("code", "is_refused"), [(4401, True), (4409, True), (1000, False)])
def test_some_closes_refuse_the_operation_that_is_being_handled(
    talk: FakeConnection, operations: Operations, code: int, *, is_refused: bool
) -> None:
    task = talk.begin_operation()
    newer = begun(operations, "b")
    task.run(operations.close_sent, code)
    assert operation_in(task).end_reason == ("rejected" if is_refused else None)
    operations.close_sent(code)
    assert newer.end_reason == ("rejected" if is_refused else None)


def test_a_close_may_refuse_nobody(operations: Operations) -> None:
    operations.close_sent(4401)
    assert operations.begun == 0


# --- Executions --------------------------------------------------------------------------------


def test_an_execution_serves_the_operation_of_its_document(operations: Operations) -> None:
    operation = begun(operations)
    same = execution(QUERY, is_stream=False)
    equal, other = execution(as_sent(QUERY)), execution("{ other }")
    assert [each.serves(operation) for each in (same, equal, other)] == [True, True, False]
    assert not execution(as_sent(QUERY), is_stream=False).serves(operation)
    assert not execution(as_sent(QUERY), "Other").serves(operation)
    assert not execution(None).serves(operation)


def test_an_execution_in_the_task_of_an_operation_is_its_until_that_has_ended(
    talk: FakeConnection, operations: Operations
) -> None:
    task = talk.start_operation()
    operation = operation_in(task)
    assert task.run(operations.claim, execution(QUERY)) is operation
    assert operation.executions == 0
    operations.claimed(operation)
    assert operation.executions == 1
    assert task.run(operations.claim, execution(QUERY)) is operation, "another try"
    operation.fire(Event.STOP, STOPPED)
    assert task.run(operations.claim, execution(QUERY)) is None


def test_an_execution_elsewhere_is_that_of_the_very_document_before_an_equal_one(
    operations: Operations,
) -> None:
    equal, own = begun(operations, "a", document=as_sent(QUERY)), begun(operations, "b")
    assert operations.claim(execution(QUERY)) is own
    operations.claimed(own)
    assert operations.claim(execution(QUERY)) is equal
    operations.claimed(equal)
    assert operations.claim(execution(QUERY)) is None
    assert operations.claim(execution(QUERY, is_stream=False)) is None


@pytest.mark.parametrize(("number", "is_claimed"), [(0, False), (1, True), (2, False)])
def test_a_document_that_was_looked_up_elsewhere_is_that_of_the_only_one_without(
    operations: Operations, number: int, *, is_claimed: bool
) -> None:
    unknown = [begun(operations, str(each), document=None) for each in range(number)]
    claimed = operations.claim(execution(QUERY))
    assert claimed is (unknown[0] if is_claimed else None)


REWRITTEN: dict[str, tuple[tuple[Event, ...], bool, bool]] = {
    # what the operation has come to, whether the host executes, and whether it is its execution
    "the host executes as it serves": ((Event.RUN,), True, True),
    "the application executes as the host serves": ((Event.RUN,), False, False),
    "nobody serves yet": ((), False, True),
    "an execution is known": ((Event.EXECUTE,), False, False),
}


@pytest.mark.parametrize("what", REWRITTEN)
async def test_a_stream_of_another_document_may_be_the_operation_of_the_task(
    what: str, talk: FakeConnection, operations: Operations
) -> None:
    events, is_hosts, is_its = REWRITTEN[what]
    task = talk.begin_operation()
    operation = operation_in(task)
    talk.end_handling()
    for event in events:
        operations.claimed(operation) if event is Event.EXECUTE else operation.fire(event)
    claimed = task.run(operations.claim, execution("{ rewritten }", is_hosts=is_hosts))
    assert claimed is (operation if is_its else None)
    is_found = is_its and not events
    assert operation.document == ("{ rewritten }" if is_found else QUERY)


async def test_a_stream_in_the_handling_of_a_message_is_the_applications(
    talk: FakeConnection, operations: Operations
) -> None:
    task = talk.begin_operation()
    operation_in(task).handled_in = asyncio.current_task()
    assert task.run(operations.claim, execution("{ may } ")) is None


# --- Executions in a task that knows nothing -----------------------------------------------------


def test_a_document_leads_to_the_request_of_an_operation_that_is_handled_and_not_executed(
    operations: Operations, talk: FakeConnection
) -> None:
    document = as_sent(QUERY)
    operation = begun(operations, document=document)
    unclaimed.add(operation, talk.request)
    assert unclaimed.find(document) is None, "it is not handled yet"
    operation.fire(Event.HANDLE)
    unclaimed.add(operation, talk.request)
    assert unclaimed.find(document) is talk.request
    operations.claimed(operation)
    assert unclaimed.find(document) is None


@pytest.mark.parametrize("how", ["ends", "is served with another document"])
def test_a_document_leads_nowhere_when_its_operation(
    how: str, operations: Operations, talk: FakeConnection
) -> None:
    document = as_sent(QUERY)
    operation = begun(operations, "a", Event.HANDLE, document=document)
    unclaimed.add(operation, talk.request)
    if how == "ends":
        operation.fire(Event.STOP, STOPPED)
    else:
        operations.run(operation, "{ other }", None)
    assert unclaimed.find(document) is None
    unclaimed.remove(operation)


def test_an_operation_without_a_document_leads_nowhere(
    operations: Operations, talk: FakeConnection
) -> None:
    operation = begun(operations, "a", Event.HANDLE, document=None)
    unclaimed.add(operation, talk.request)
    assert (operation.unclaimed_key, unclaimed.find(None)) == (None, None)


# --- Several operations of one id ------------------------------------------------------------


def ends(telemetry: Telemetry) -> list[tuple[str, int]]:
    """Why each operation has ended, and how many results it had, in the order of the ends."""
    found = map(attributes_of, telemetry.spans())
    return [
        (each["graphql.ws.operation.end_reason"], each["graphql.ws.results"])
        for each in found
        if "graphql.ws.operation.id" in each
    ]


async def test_the_id_of_stopped_operations_is_shared_until_all_their_tasks_are_done(
    talk: FakeConnection, telemetry: Telemetry
) -> None:
    stop = {"type": "complete", "id": "a"}
    first = talk.start_operation()
    talk.receive_and_handle(stop)
    second = talk.start_operation()
    talk.receive_and_handle(stop)

    third = talk.begin_operation()
    talk.end_serving(first)
    talk.send_result(within=Place())
    talk.end_handling()
    talk.begin_serving(third)
    talk.end_serving(second)
    talk.send_result(within=third)
    talk.close_by_client()

    assert ends(telemetry) == [
        ("client_completed", 0),
        ("client_completed", 0),
        ("connection_closed", 1),
    ]


async def test_a_method_that_calls_the_hosts_again_serves_one_operation(
    talk: FakeConnection, telemetry: Telemetry
) -> None:
    recorded = talk.connection
    task = talk.start_operation()
    again = task.run(recorded.operation_running, "a", QUERY, None, talk.request)
    talk.send_result(within=task)
    talk.send("complete", id="a", within=task)
    task.run(recorded.operation_ran, again, None)
    talk.end_serving(task)
    talk.close_by_client()

    assert ends(telemetry) == [("completed", 1)]
