"""The table of what may happen to an operation, against a plain account of why one ends."""

import asyncio
from collections import Counter
from itertools import product
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from strawberry_ws_otel._close import Facts, verdict
from strawberry_ws_otel._operation import IGNORED, TRANSITIONS, Event, State
from strawberry_ws_otel._operations import Operations
from strawberry_ws_otel._protocol import GRAPHQL_TRANSPORT_WS, vocabulary
from tests.support.fake_connection import FakeConnection
from tests.support.strategies import PROPERTY
from tests.support.telemetry import Telemetry
from tests.support.views import config

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
            bool(self._operations._winding_down),
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
        assert self._operations._open == self._operations._by_id == {}


def operations_of(telemetry: Telemetry) -> Operations:
    connection = FakeConnection(config(telemetry))
    connection.opens(GRAPHQL_TRANSPORT_WS)
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


def test_an_operation_ends_for_the_reason_that_a_plain_account_of_it_gives() -> None:
    run_state_machine_as_test(
        AnyCourse, settings=settings(PROPERTY, max_examples=250, stateful_step_count=50)
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
