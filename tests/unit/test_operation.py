"""An operation: the table of what may happen to it, what is recorded of it, and its first words.

The table is held against a plain account of why an operation ends.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from itertools import product
from typing import Any, Final, NoReturn

import pytest
from graphql import GraphQLSyntaxError, parse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from strawberry.utils.operation import get_operation_type

from strawberry_ws_otel._close import CloseFrame, Facts, Initiator, verdict
from strawberry_ws_otel._operation import (
    IGNORED,
    MAX_ERROR_EVENTS,
    TRANSITIONS,
    Event,
    Operation,
    OperationLook,
    SocketOperation,
    State,
    leading_operation_type,
)
from strawberry_ws_otel._operations import Operations
from strawberry_ws_otel._propagation import Parentage
from strawberry_ws_otel._protocol import GRAPHQL_TRANSPORT_WS, vocabulary
from strawberry_ws_otel._recording import Telemetry as Recording
from tests.support.clock import Clock
from tests.support.fake_connection import QUERY, FakeConnection, operation_in
from tests.support.log import LogKeeper
from tests.support.strategies import PROPERTY
from tests.support.telemetry import Telemetry, attributes_of, events_of, labels
from tests.support.views import config

# --- The table -------------------------------------------------------------------------------

WORDS = vocabulary(GRAPHQL_TRANSPORT_WS)
DETAILS: dict[Event, Any] = {
    Event.RESULT_SENT: False,
    Event.ERROR_SENT: WORDS.sent["error"],
    Event.COMPLETE_SENT: WORDS.sent["complete"],
    Event.STOP: WORDS.received["complete"],
    Event.RAISE: ValueError(),
    Event.GO_ON: asyncio.CancelledError(),
    Event.CLOSE: verdict(Facts(), frozenset()),
}
"""What events bring."""


COURSES = (
    (),
    (Event.HANDLE,),
    (Event.HANDLE, Event.EXECUTE),
    (Event.HANDLE, Event.RUN),
    (Event.HANDLE, Event.RUN, Event.COMPLETE_SENT),
    (Event.HANDLE, Event.RUN, Event.RETURN),
    (Event.HANDLE, Event.RUN, Event.CANCEL),
    (Event.HANDLE, Event.RUN, Event.STOP),
    (Event.STOP, Event.HANDLE),
)
"""How an operation gets into each state but the last."""


class Account:
    """What has happened to one operation, and why it has ended, in plain words."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.is_handled = self.is_accepted = False
        self.was_run = self.runs = self.has_said_complete = self.is_cancelled = False
        self.is_closed = False
        self.results = 0

    @property
    def is_open(self) -> bool:
        return self.reason is None

    @property
    def is_last_word_open(self) -> bool:
        """Whether somebody may still say how it ends."""
        return self.is_open and not self.has_said_complete

    @property
    def may_be_taken_up(self) -> bool:
        """Whether, though it has ended, the host or others may still serve it."""
        seen = self.was_run or (self.is_handled and not self.is_accepted)
        return not self.is_open and not self.is_closed and not seen

    @property
    def is_winding_down(self) -> bool:
        return not self.is_open and self.runs and not self.is_closed

    @property
    def is_gone(self) -> bool:
        return not (self.is_open or self.is_winding_down or self.may_be_taken_up)

    def ends(self, reason: str) -> bool:
        if not self.is_open:
            return False
        self.reason = reason
        return True

    def stops_running(self) -> bool:
        ran = self.runs and not self.is_closed
        self.runs = self.runs and self.is_closed
        return ran

    # --- Each says whether it is of any consequence --------------------------------------------

    def handle(self) -> bool:
        first = self.is_open and not self.is_handled and not self.is_accepted
        self.is_handled = self.is_handled or first
        return first

    def run(self) -> bool:
        if self.runs or not (self.is_open or self.may_be_taken_up):
            return False
        self.runs = self.was_run = self.is_accepted = True
        self.is_cancelled = False
        return True

    def execute(self) -> bool:
        first = self.is_open and not self.is_accepted
        self.is_accepted = self.is_accepted or first
        return first

    def result_sent(self) -> bool:
        if not self.is_last_word_open:
            return False
        self.is_accepted = True
        self.results += 1
        return True

    def error_sent(self) -> bool:
        return self.is_last_word_open and self.ends("error" if self.is_accepted else "rejected")

    def complete_sent(self) -> bool:
        if not self.is_last_word_open:
            return False
        if self.runs:
            self.has_said_complete = True
            return True
        return self.ends("completed")

    def stop(self) -> bool:
        alive = self.is_last_word_open and not self.is_cancelled
        return alive and self.ends("client_completed")

    def restart(self) -> bool:
        return self.reuse() or self.stop()

    def reuse(self) -> bool:
        """The id is free as soon as `complete` is said, though the task may go on."""
        return self.is_open and self.has_said_complete

    def refuse(self) -> bool:
        return not self.is_accepted and self.ends("rejected")

    def return_(self) -> bool:
        if self.runs and self.has_said_complete:
            self.ends("completed")
        return self.stops_running()

    def raise_(self) -> bool:
        if self.runs:
            self.ends("failed")
        return self.stops_running()

    raise_closing = return_

    def cancel_closing(self) -> bool:
        if self.runs:
            self.has_said_complete = False
        return self.stops_running()

    def cancel(self) -> bool:
        self.is_cancelled = self.is_cancelled or (self.is_open and self.runs)
        return self.cancel_closing()

    def go_on(self) -> bool:
        return self.is_cancelled and self.ends("failed")

    def close(self) -> bool:
        ended = self.ends("completed" if self.has_said_complete else "connection_closed")
        self.is_closed = self.is_closed or ended
        return ended

    def takes(self, event: Event) -> bool:
        name = event.name.lower()
        happens = getattr(self, name, None) or getattr(self, f"{name}_")
        return bool(happens())


class Compared:
    """An operation, and the account of it."""

    def __init__(self, operations: Operations) -> None:
        payload = {"query": "subscription { n }"}
        message = WORDS.read({"type": "subscribe", "id": "a", "payload": payload})
        self._operations = operations
        self._operation = operations.begin(message, WORDS)
        self._account = Account()

    def happens(self, event: Event) -> tuple[Event, State]:
        """Compare what comes of an event; return the pair that was tried."""
        pair = event, self._operation.state
        matters = self._account.takes(event)
        assert self._operation.fire(event, DETAILS.get(event)) is matters
        assert (
            self._operation.end_reason,
            self._operation.has_ended,
            bool(self._operations.winding_down),
            self._operation.id is None,
            self._operation.results.ok,
        ) == (
            self._account.reason,
            not self._account.is_open,
            self._account.is_winding_down,
            self._account.is_gone,
            self._account.results,
        )
        return pair

    def is_over(self) -> None:
        """The connection has closed, and whatever runs has ended."""
        self.happens(Event.CLOSE)
        self.happens(Event.RETURN)
        assert self._operations.open == self._operations._by_id == {}


def operations_of(telemetry: Telemetry) -> Operations:
    connection = FakeConnection(config(telemetry))
    connection.accept(GRAPHQL_TRANSPORT_WS)
    return connection.connection._operations


class AnyCourse(RuleBasedStateMachine):
    """Operations of one connection, one after the other, to which anything happens."""

    def __init__(self) -> None:
        super().__init__()
        self.telemetry = Telemetry(sampler=ALWAYS_OFF)
        self.operations = operations_of(self.telemetry)
        self.compared = Compared(self.operations)

    @rule(course=st.sampled_from([(*course, event) for course in COURSES for event in Event]))
    def begins_another(self, course: tuple[Event, ...]) -> None:
        self.compared.is_over()
        self.compared = Compared(self.operations)
        for event in course:
            self.compared.happens(event)

    @rule(event=st.sampled_from(Event))
    def happens(self, event: Event) -> None:
        self.compared.happens(event)

    def teardown(self) -> None:
        self.compared.is_over()
        self.telemetry.shutdown()


@pytest.mark.parametrize("examples", [50, pytest.param(250, marks=pytest.mark.matrix)])
def test_an_operation_ends_for_the_reason_that_a_plain_account_of_it_gives(examples: int) -> None:
    run_state_machine_as_test(
        AnyCourse, settings=settings(PROPERTY, max_examples=examples, stateful_step_count=50)
    )


def test_every_event_does_in_every_state_what_the_account_says() -> None:
    telemetry = Telemetry(sampler=ALWAYS_OFF)
    operations = operations_of(telemetry)
    tried = set()
    for course, event in product(COURSES, Event):
        compared = Compared(operations)
        tried |= {compared.happens(each) for each in (*course, event)}
        compared.is_over()
    # Nothing is expected of one that is gone but that nothing happens to it.
    compared = Compared(operations)
    compared.is_over()
    tried |= {compared.happens(event) for event in Event}
    assert tried == set(product(Event, State))
    telemetry.shutdown()


def test_every_event_has_one_meaning_in_every_state() -> None:
    rows = [(event, state) for event, rows in TRANSITIONS.items() for state in rows]
    ignored = [pair for each in IGNORED for pair in product(each.events, each.states)]
    assert Counter(rows + ignored) == Counter(product(Event, State))


@pytest.mark.internal_error
def test_an_operation_changes_its_state_though_what_is_done_because_of_it_fails(
    telemetry: Telemetry, library_log: LogKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> NoReturn:
        raise ValueError

    operations = operations_of(telemetry)
    operation = operations.begin(WORDS.read({"type": "subscribe", "id": "a"}), WORDS)
    monkeypatch.setattr(Operations, "ended", fail)
    assert operation.fire(Event.STOP, WORDS.received["complete"])
    assert (operation.state, operation.end_reason) == (State.ENDED, "client_completed")
    [record] = library_log.records
    assert record.getMessage().startswith("Telemetry failed in the library: ValueError; it is off")


# --- What is recorded of an operation on any transport -----------------------------------------

HASH: Final = "graphql.document.hash"
ACTIVE: Final = "graphql.server.subscription.active"
REQUESTS: Final = "graphql.server.request.duration"


def hash_of(document: str) -> str:
    return f"sha256:{sha256(document.encode()).hexdigest()}"


def begin(telemetry: Telemetry, name: object = "N", **options: Any) -> Operation:
    """An operation whose span has started."""
    recording = Recording(config(telemetry, **options))
    operation = Operation(recording, recording.fuses(), name, QUERY)
    operation.start(Parentage(Context()))
    return operation


def nothing() -> None:
    """The document cannot be parsed: nobody learns the type."""


GUESSES: dict[str, tuple[str, str | None, tuple[int, int]]] = {
    # the guess, what the document turns out to be, and the live subscriptions before and after
    "a subscription that is one": ("subscription", "subscription", (1, 1)),
    "a subscription that is a query": ("subscription", "query", (1, 0)),
    "a subscription of which nothing is learnt": ("subscription", None, (1, 1)),
    "a query that is one": ("query", "query", (0, 0)),
    "a query that is a subscription": ("query", "subscription", (0, 1)),
    "a query of which nothing is learnt": ("query", None, (0, 0)),
}


@pytest.mark.parametrize("what", GUESSES)
def test_live_subscriptions_follow_the_guess_until_the_document_is_parsed(
    what: str, telemetry: Telemetry
) -> None:
    guess, parsed, (before, after) = GUESSES[what]
    operation = begin(telemetry)
    operation.expect(guess, nothing)
    assert (operation.type, telemetry.total(ACTIVE)) == (None, before)
    if parsed is not None:
        operation.describe(parsed, "N")
    assert (operation.type, telemetry.total(ACTIVE)) == (parsed, after)
    operation.finish()
    assert telemetry.total(ACTIVE) == 0
    durations = telemetry.metrics().get(REQUESTS, {})
    of_type = {} if parsed is None else {"graphql.operation.type": parsed}
    assert durations == ({} if parsed == "subscription" else {labels(of_type): 1})
    [span] = telemetry.spans()
    assert attributes_of(span).get("graphql.operation.type") == parsed


def test_only_the_first_description_and_end_count_and_none_after_the_end(
    telemetry: Telemetry,
) -> None:
    first, late = begin(telemetry), begin(telemetry)
    first.describe("query", "First")
    first.describe("mutation", "Second")
    late.finish()
    late.describe("query", "Late")
    first.finish()
    first.finish()
    types = [attributes_of(span).get("graphql.operation.type") for span in telemetry.spans()]
    assert types == ["query", None]
    assert [span.name for span in telemetry.spans()] == ["query", "GraphQL Operation"]
    assert telemetry.total(REQUESTS) == 2


@pytest.mark.parametrize(
    ("option", "name", "called"),
    [
        (False, "N", "query"),
        (True, "N", "query N"),
        (True, None, "query"),
        (True, "N" * 1000, f"query {'N' * 256}"),
    ],
    ids=["by type", "by name", "without one", "by a long one"],
)
def test_a_span_is_called_by_the_type_and_where_configured_by_the_name(
    name: str | None, called: str, telemetry: Telemetry, *, option: bool
) -> None:
    operation = begin(telemetry, None, name_spans_after_operation=option)
    operation.describe("query", name)
    operation.finish()
    [span] = telemetry.spans()
    assert span.name == called
    assert attributes_of(span).get("graphql.operation.name") == (name and name[:256])


@pytest.mark.parametrize("captured", [True, False])
def test_the_document_that_is_executed_takes_the_place_of_the_one_that_was_sent(
    telemetry: Telemetry, *, captured: bool
) -> None:
    operation = begin(telemetry, capture_document=captured)
    for document in (None, QUERY, "{ found }"):
        operation.document_found(document)
    operation.finish()
    [span] = telemetry.spans()
    assert attributes_of(span) == {
        "graphql.operation.name": "N",
        HASH: hash_of("{ found }"),
        **({"graphql.document": "{ found }"} if captured else {}),
    }


def test_a_name_and_a_document_of_other_types_are_left_out(telemetry: Telemetry) -> None:
    recording = Recording(config(telemetry))
    operation = Operation(recording, recording.fuses(), ["N"], {"query": QUERY})
    operation.start(Parentage(Context()))
    operation.finish()
    [span] = telemetry.spans()
    assert attributes_of(span) == {}


@pytest.mark.parametrize("is_current", [True, False])
def test_the_span_of_a_phase_is_below_that_of_the_operation(
    numbered_telemetry: Telemetry, *, is_current: bool
) -> None:
    operation = begin(numbered_telemetry)
    with trace.use_span(operation.span.span if is_current else trace.INVALID_SPAN):
        phase = operation.phase("Parsing", 42)
    assert phase is not None
    phase.end()
    [parsing] = numbered_telemetry.spans("Parsing")
    assert parsing.start_time == 42
    operation.finish()
    spans = {span["name"]: span for span in numbered_telemetry.snapshots()}
    assert spans["Parsing"]["parent"] == spans["GraphQL Operation"]["id"]
    assert spans["Parsing"]["kind"] == "INTERNAL"


@pytest.mark.parametrize(
    ("is_sampled", "option", "type_"),
    [(False, True, "query"), (True, False, "query"), (True, True, "subscription")],
)
def test_a_phase_has_no_span_where_nobody_sees_or_wants_it(
    type_: str, *, is_sampled: bool, option: bool
) -> None:
    telemetry = Telemetry() if is_sampled else Telemetry(sampler=ALWAYS_OFF)
    operation = begin(telemetry, phase_spans=option)
    operation.describe(type_, None)
    assert operation.phase("Parsing") is None
    telemetry.shutdown()


def test_the_first_errors_are_events_all_are_counted_and_the_first_says_what_failed(
    telemetry: Telemetry,
) -> None:
    operation = begin(telemetry)
    operation.describe("query", "N")
    for error_type, count in (("FIRST", 7), ("SECOND", 7)):
        operation.errors(error_type, count, [{"of": error_type}] * count)
    operation.finish("ValueError", "it failed")
    operation.errors("LATE", 1, [{"of": "LATE"}])
    [span] = telemetry.spans()
    events = ["FIRST"] * 7 + ["SECOND"] * (MAX_ERROR_EVENTS - 7)
    assert [event["of"] for event in events_of(span, "graphql.error")] == events
    attributes = attributes_of(span)
    assert attributes["graphql.error.count"] == 14
    assert attributes["error.type"] == "FIRST"
    assert telemetry.total(REQUESTS, error__type="FIRST") == 1


@pytest.mark.parametrize(("type_", "events"), [("subscription", 3), ("query", 0)])
def test_the_results_of_a_subscription_are_events(
    type_: str, events: int, telemetry: Telemetry
) -> None:
    operation = begin(telemetry)
    operation.describe(type_, None)
    for error_type in (None, "CODE", None):
        operation.delivered(error_type)
    operation.finish()
    assert (operation.results.ok, operation.results.failed) == (2, 1)
    name = "graphql.server.subscription.event_count"
    assert telemetry.total(name) == events
    assert telemetry.total(name, error__type="CODE") == (1 if events else 0)


def test_an_operation_that_nobody_samples_is_measured_all_the_same(clock: Clock) -> None:
    telemetry = Telemetry(sampler=ALWAYS_OFF)
    operation = begin(telemetry)
    operation.document_found("{ found }")
    operation.describe("query", "N")
    operation.errors("CODE", 1, [{"never": "made"}])
    clock.passes(2.0)
    operation.finish()
    [point] = telemetry.points(REQUESTS)
    assert (point.count, point.sum) == (1, 2.0)
    assert dict(point.attributes) == {"graphql.operation.type": "query", "error.type": "CODE"}
    assert telemetry.spans() == []
    telemetry.shutdown()


# --- What is recorded of one over a WebSocket ---------------------------------------------------

ERRORS: Final = "graphql.error"


def run(telemetry: Telemetry, id_: str = "a") -> SocketOperation:
    """An operation that the host's method serves."""
    message = WORDS.read({"type": "subscribe", "id": id_, "payload": {"query": QUERY}})
    operation = operations_of(telemetry).begin(message, WORDS)
    assert operation.fire(Event.HANDLE)
    assert operation.fire(Event.RUN)
    return operation


def failed_with(*error_types: str, operation: SocketOperation) -> None:
    """The host has made a result with errors for each of these classes, and sent none."""
    for error_type in error_types:
        operation.errors(error_type, 1, [{"of": error_type}])


def completes(operation: SocketOperation) -> None:
    operation.fire(Event.COMPLETE_SENT, WORDS.sent["complete"])
    operation.fire(Event.RETURN)


def test_errors_are_recorded_as_their_result_is_sent(telemetry: Telemetry) -> None:
    operation = run(telemetry)
    operation.describe("subscription", None)
    failed_with("FIRST", "SECOND", operation=operation)
    for has_errors in (True, False, True, True):
        operation.fire(Event.RESULT_SENT, has_errors)
    completes(operation)
    # The last one has errors of which nobody has told: they were not made by the schema.
    assert (operation.results.ok, operation.results.failed) == (2, 2)
    [span] = telemetry.spans("subscription")
    names = [event.name for event in span.events if event.name != "graphql.ws.next"]
    assert names == ["graphql.ws.subscribe", ERRORS, ERRORS, "graphql.ws.complete"]
    assert attributes_of(span)["graphql.ws.results"] == 4
    assert attributes_of(span)["error.type"] == "FIRST"


def is_refused_by_an_error(operation: SocketOperation) -> None:
    operation.fire(Event.ERROR_SENT, WORDS.sent["error"])


def completes_at_the_second_try(operation: SocketOperation) -> None:
    for _ in range(2):
        operation.executions += 1
        operation.fire(Event.EXECUTE)
    completes(operation)


def fails_at_the_second_try(operation: SocketOperation) -> None:
    for _ in range(2):
        operation.executions += 1
        operation.fire(Event.EXECUTE)
    operation.fire(Event.RAISE, ValueError())


UNSENT: dict[str, tuple[Callable[[SocketOperation], None], int, str | None]] = {
    # how an operation ends whose errors were not sent with a result, the events, its `error.type`
    "an error message": (is_refused_by_an_error, 1, "CODE"),
    "complete": (completes, 1, "CODE"),
    "complete at the second try": (completes_at_the_second_try, 0, None),
    "failed at the second try": (fails_at_the_second_try, 1, "CODE"),
}


@pytest.mark.parametrize("how", UNSENT)
def test_errors_that_no_result_was_sent_with_are_recorded_at_the_end_unless_given_up(
    how: str, telemetry: Telemetry
) -> None:
    ends, events, error_type = UNSENT[how]
    operation = run(telemetry)
    failed_with("CODE", operation=operation)
    ends(operation)
    failed_with("LATE", operation=operation)
    [span] = telemetry.spans("GraphQL Operation")
    assert [event["of"] for event in events_of(span, ERRORS)] == ["CODE"] * events
    assert attributes_of(span).get("error.type") == error_type


def test_errors_are_counted_but_not_kept_where_nobody_samples() -> None:
    telemetry = Telemetry(sampler=ALWAYS_OFF)
    operation = run(telemetry)
    operation.describe("subscription", None)
    failed_with("CODE", operation=operation)
    operation.fire(Event.RESULT_SENT, True)  # noqa: FBT003  # what the event brings
    completes(operation)
    assert telemetry.total("graphql.server.subscription.event_count", error__type="CODE") == 1
    telemetry.shutdown()


def test_an_operation_that_is_executed_lets_go_of_its_first_message(telemetry: Telemetry) -> None:
    message = WORDS.read({"type": "subscribe", "id": "a", "payload": {"query": QUERY}})
    operation = operations_of(telemetry).begin(message, WORDS)
    operation.fire(Event.HANDLE)
    assert operation.first is message.value
    operation.fire(Event.EXECUTE)
    assert operation.state is State.SERVED
    assert (operation.first, operation.payload) == (None, {})


def test_an_id_is_marked_until_the_methods_of_all_its_stopped_operations_have_ended(
    telemetry: Telemetry,
) -> None:
    operations = operations_of(telemetry)
    message = WORDS.read({"type": "subscribe", "id": "a", "payload": {"query": QUERY}})
    stopped = []
    for number in (1, 2):
        operation = operations.begin(message, WORDS)
        for event in (Event.HANDLE, Event.RUN, Event.STOP):
            operation.fire(event, DETAILS.get(event))
        stopped.append(operation)
        assert operations.winding_down == {"a": number}
    for operation, left in zip(stopped, ({"a": 1}, {}), strict=True):
        operation.fire(Event.RETURN)
        assert operations.winding_down == left


@pytest.mark.parametrize("type_", ["subscription", "query"])
def test_a_subscription_has_an_id_that_no_other_connection_has(
    type_: str, telemetry: Telemetry
) -> None:
    operation = run(telemetry, "s-1")
    operation.describe(type_, None)
    completes(operation)
    [span] = telemetry.spans(type_)
    id_ = f"{operation.registry.connection_id}-s-1" if type_ == "subscription" else None
    assert attributes_of(span).get("graphql.subscription.id") == id_


CLOSES: dict[str, tuple[Facts, tuple[str, int], bool]] = {
    # the facts, the outcome and the code, and whether the operation has failed
    "a normal one": (
        Facts(upgraded=True, received=CloseFrame(1000), initiator=Initiator.CLIENT),
        ("normal", 1000),
        False,
    ),
    "a lost connection": (Facts(upgraded=True, lost=True), ("connection_lost", 1006), True),
}


@pytest.mark.parametrize("what", CLOSES)
def test_a_close_is_a_failure_of_the_operations_that_it_ends_if_it_is_abnormal(
    what: str, telemetry: Telemetry
) -> None:
    facts, (outcome, code), failure = CLOSES[what]
    run(telemetry).fire(Event.CLOSE, verdict(facts, frozenset()))
    [span] = telemetry.spans("GraphQL Operation")
    attributes = attributes_of(span)
    assert attributes["graphql.ws.operation.end_reason"] == "connection_closed"
    assert attributes["websocket.close.outcome"] == outcome
    assert attributes["websocket.close.code"] == code
    assert attributes.get("error.type") == (outcome if failure else None)
    assert span.status.description == (
        f"interrupted by an abnormal close: {outcome}" if failure else None
    )


@pytest.mark.parametrize("is_described", [True, False])
def test_what_was_expected_is_learnt_once_at_the_latest_at_the_end(
    telemetry: Telemetry, *, is_described: bool
) -> None:
    operation, asked = run(telemetry), []

    def describe() -> None:
        asked.append("asked")
        operation.describe("mutation", None)

    operation.expect("mutation", describe)
    if is_described:
        operation.describe("mutation", None)
    completes(operation)
    operation.fire(Event.CLOSE, DETAILS[Event.CLOSE])
    assert asked == ([] if is_described else ["asked"])
    assert telemetry.metrics()[REQUESTS] == {labels({"graphql.operation.type": "mutation"}): 1}
    assert [span.name for span in telemetry.spans()] == ["mutation"]


def test_a_look_shows_the_type_that_is_expected_until_another_one_is_parsed(
    telemetry: Telemetry, clock: Clock
) -> None:
    operation = run(telemetry)
    look = operation.look()
    assert look == OperationLook("a", None, None, clock.now, 0, None, has_ended=False)
    operation.expect("subscription", nothing)
    assert operation.look() == look._replace(type="subscription")
    operation.describe("query", "N" * 300)
    operation.fire(Event.RESULT_SENT, False)  # noqa: FBT003  # the detail
    known = look._replace(type="query", name="N" * 256, results=1)
    assert operation.look() == known
    operation.fire(Event.STOP, WORDS.received["complete"])
    assert operation.look() == known._replace(has_ended=True)


def test_the_span_of_a_message_that_has_waited_starts_when_it_was_received(
    telemetry: Telemetry, clock: Clock
) -> None:
    message = WORDS.read({"type": "subscribe", "id": "a", "payload": {"query": QUERY}})
    operations = operations_of(telemetry)
    for waited, is_noticed in ((0.005, False), (5.0, True)):
        operation = operations.begin(message, WORDS)
        clock.passes(waited)
        earliest = clock.time_ns()
        operation.fire(Event.HANDLE)
        latest = clock.time_ns()
        operation.fire(Event.STOP, WORDS.received["complete"])
        *_, span = telemetry.exporter.get_finished_spans()
        handled = (span.start_time or 0) + (5 * 10**9 if is_noticed else 0)
        assert earliest <= handled <= latest


# --- What a document begins with -----------------------------------------------------------------

Case = tuple[object, object, str | None]

LEADING: dict[str, Case] = {
    # a document, the name that is asked for, and the type that it shows
    "shorthand": ("{ n }", None, "query"),
    "a query": ("query { n }", None, "query"),
    "a query with variables": ("query($a: Int) { n }", None, "query"),
    "a query with a name": ("query N { n }", None, "query"),
    "a mutation": ("mutation { n }", None, "mutation"),
    "a mutation with a name": ("mutation N($a: Int) { n }", "N", "mutation"),
    "a subscription": ("subscription{n}", None, "subscription"),
    "a subscription with a name": ("subscription N { n }", "N", "subscription"),
    "a subscription with a directive": ("subscription@live{n}", None, "subscription"),
    "after what is ignored": ("\ufeff \t\r\n,# query\n subscription N { n }", None, "subscription"),
    "with ignored tokens before its name": ("query,#\r N{ n }", "N", "query"),
    "before another operation": ("query A { n } subscription B { n }", None, "query"),
    "a keyword for a name": ("query mutation { n }", "mutation", "query"),
    "another one asked for": ("query A { n } subscription B { n }", "B", None),
    "a name asked for of a query without one": ("{ n }", "N", None),
    "an empty name asked for": ("query N { n }", "", None),
    "no name at all asked for": ("query N { n }", 5, None),
    "a fragment": ("fragment F on T { n } query N { n }", None, None),
    "a word that only begins like a keyword": ("queryN { n }", None, None),
    "a keyword in capitals": ("Query { n }", None, None),
    "a comment alone": ("# query { n }", None, None),
    "a string": ('"query" { n }', None, None),
    "no text": ("", None, None),
    "bytes": (b"{ n }", None, None),
    "nothing": (None, None, None),
}


@pytest.mark.parametrize("what", LEADING)
def test_the_first_words_of_a_document_show_the_type(what: str) -> None:
    document, name, type_ = LEADING[what]
    assert leading_operation_type(document, name) == type_


def type_in(document: str, name: str | None) -> str | None:
    """What the host finds in a document, if it can be parsed and has the operation."""
    try:
        return get_operation_type(parse(document), name).value
    except (GraphQLSyntaxError, RuntimeError):
        return None


ignored = st.lists(
    st.sampled_from(["\ufeff", " ", "\t", "\n", "\r", "\r\n", ",", "#\n", "# query Q {\r"])
).map("".join)
names = st.sampled_from(["A", "B", "query", "subscription", "fragment", "_1"])
types = st.sampled_from(["query", "mutation", "subscription"])


@st.composite
def definitions(draw: st.DrawFn) -> str:
    """A definition of a document, with ignored tokens wherever they may stand."""
    gap = f"{draw(ignored)} "
    heads: list[Callable[[], str]] = [
        lambda: "",
        lambda: draw(types),
        lambda: f"{draw(types)}{gap}{draw(names)}",
        lambda: f"{draw(types)}{gap}{draw(names)}($a: Int)",
        lambda: f"fragment{gap}{draw(names)}{gap}on{gap}T",
    ]
    return f"{draw(ignored)}{draw(st.sampled_from(heads))()}{draw(ignored)}{{ n }}"


@given(st.lists(definitions(), min_size=1, max_size=3).map("".join), st.none() | names)
@PROPERTY
def test_the_type_that_a_document_shows_is_the_one_that_the_host_finds(
    document: str, name: str | None
) -> None:
    assert leading_operation_type(document, name) in {None, type_in(document, name)}


soup = st.lists(
    ignored
    | names
    | types
    | st.sampled_from(
        ["{", "}", "{ n }", "(", ")", "$a: Int", "@d", "on", '"', "...", "\u00e9", "-"]
    )
)


@given(soup.map("".join), st.none() | names)
@PROPERTY
def test_where_both_say_something_of_what_may_be_no_document_they_say_the_same(
    document: str, name: str | None
) -> None:
    shown, found = leading_operation_type(document, name), type_in(document, name)
    assert shown is None or found is None or shown == found


def test_nothing_is_expected_of_an_operation_that_has_ended(telemetry: Telemetry) -> None:
    operation = begin(telemetry)
    operation.finish()
    operation.expect("subscription", nothing)
    assert telemetry.total(ACTIVE) == 0


def test_nothing_is_expected_of_an_operation_whose_type_is_known(telemetry: Telemetry) -> None:
    operation = begin(telemetry)
    operation.describe("query", None)
    operation.expect("subscription", nothing)
    assert telemetry.total(ACTIVE) == 0
    operation.finish()


def test_of_two_attempts_the_first_one_that_was_parsed_says_the_type(telemetry: Telemetry) -> None:
    operation = begin(telemetry)
    operation.expect("subscription", lambda: operation.describe("subscription", None))
    operation.expect("subscription", nothing)
    assert (operation.type, telemetry.total(ACTIVE)) == ("subscription", 1)
    operation.finish()
    assert telemetry.total(ACTIVE) == 0


# --- Segments --------------------------------------------------------------------------------


def stream(telemetry: Telemetry, **options: Any) -> Operation:
    operation = begin(telemetry, segment_duration=300, **options)
    operation.describe("subscription", "N")
    return operation


async def test_a_stream_over_http_takes_its_turn_until_it_ends(
    telemetry: Telemetry, clock: Clock
) -> None:
    operation = stream(telemetry)
    turn = operation._turn
    assert turn is not None
    assert turn.owner() is operation
    clock.passes(300)
    operation.errors("E", 1, [{"n": 1}])
    assert operation.rotate() == clock.now + 600
    clock.passes(5)
    operation.finish()
    assert turn.owner() is None
    assert operation.rotate() == math.inf
    described = {
        "graphql.operation.type": "subscription",
        "graphql.operation.name": "N",
        HASH: hash_of(QUERY),
        "graphql.error.count": 1,
    }
    assert [(span.name, attributes_of(span)) for span in telemetry.spans()] == [
        (
            "subscription",
            described
            | {
                "graphql.ws.segment.number": 0,
                "graphql.ws.segment.continued": True,
                "error.type": "E",
            },
        ),
        (
            "subscription",
            described
            | {
                "graphql.ws.segment.number": 1,
                "graphql.ws.duration": 305.0,
                "error.type": "E",
            },
        ),
    ]


def test_without_a_duration_a_stream_takes_no_turns(telemetry: Telemetry) -> None:
    operation = begin(telemetry, segment_duration=None)
    operation.describe("subscription", "N")
    operation.take_turns()
    assert operation._turn is None
    operation.finish()
    [only] = telemetry.spans()
    assert "graphql.ws.segment.number" not in attributes_of(only)


def test_each_segment_has_errors_of_its_own(telemetry: Telemetry) -> None:
    operation = stream(telemetry)
    for count in (12, 3):
        operation.errors("E", count, [{"n": n} for n in range(count)])
        assert operation.next_segment()
    operation.finish()
    events = [events_of(span, "graphql.error") for span in telemetry.spans()]
    assert [len(each) for each in events] == [MAX_ERROR_EVENTS, 3, 0]


@pytest.mark.internal_error
def test_a_type_that_cannot_be_learnt_does_not_keep_a_segment_open(telemetry: Telemetry) -> None:
    operation = begin(telemetry, segment_duration=300)

    def learn() -> None:
        raise ValueError

    operation.expect("subscription", learn)
    assert operation.next_segment()
    operation.finish()


async def test_a_stream_is_left_open_as_the_process_exits(telemetry: Telemetry) -> None:
    operation = stream(telemetry)
    operation.leave_open()
    assert operation._turn is not None
    assert operation._turn.owner() is None
    [only] = telemetry.spans()
    assert attributes_of(only)["graphql.ws.segment.continued"] is True


def test_results_are_thinned_anew_in_each_segment(telemetry: Telemetry) -> None:
    talk = FakeConnection(config(telemetry, message_events=1, segment_duration=300))
    talk.accept(GRAPHQL_TRANSPORT_WS)
    talk.initialize()
    place = talk.start_operation("a")
    operation = operation_in(place)
    for _ in range(2):
        for _ in range(5):
            talk.send_result("a", within=place)
        assert operation.next_segment()
    talk.close_by_client()
    spans = telemetry.spans("GraphQL Operation")
    found = [
        [event["graphql.ws.message.sequence"] for event in events_of(span, "graphql.ws.next")]
        for span in spans
    ]
    assert found == [[1, 2, 4], [6, 7, 9], []]
    assert [attributes_of(span)["graphql.ws.results"] for span in spans] == [5, 10, 10]


@pytest.mark.internal_error
def test_an_operation_whose_next_segment_cannot_start_counts_on(telemetry: Telemetry) -> None:
    talk = FakeConnection(config(telemetry, message_events=1, segment_duration=300))
    talk.accept(GRAPHQL_TRANSPORT_WS)
    place = talk.start_operation("a")
    operation = operation_in(place)
    talk.send_result("a", within=place)
    operation.fuses.spans.blow(ValueError("bad"))
    assert not operation.next_segment()
    talk.send_result("a", within=place)
    talk.close_by_client()
    [only] = telemetry.spans("GraphQL Operation")
    assert len(events_of(only, "graphql.ws.next")) == 2


def test_each_segment_with_errors_fails(telemetry: Telemetry) -> None:
    operation = stream(telemetry)
    operation.errors("E", 1, [{}])
    operation.next_segment()
    operation.next_segment()
    operation.errors("F", 1, [{}])
    operation.leave_open()
    found = [
        (span.status.status_code.name, attributes_of(span).get("error.type"))
        for span in telemetry.spans()
    ]
    assert found == [("ERROR", "E"), ("UNSET", None), ("ERROR", "E")]
