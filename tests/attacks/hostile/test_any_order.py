"""Whatever happens to a connection, in any order: nothing is raised, lost or recorded twice."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import SpanKind

from strawberry_ws_otel import open_connections
from strawberry_ws_otel._close import CloseCode, CloseFrame
from strawberry_ws_otel._connection import Connection, Handling, Running
from strawberry_ws_otel._operation import EndReason
from strawberry_ws_otel._operations import Execution, unclaimed
from tests.attacks.hostile.bounds import unbounded_labels, unbounded_span
from tests.support.fake_connection import BOTH, RESULT, START, STOP, FakeConnection, Place
from tests.support.strategies import MESSAGE_TYPES, PROPERTY, any_json, any_text, ids, messages
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import config

FAILURES: Final[tuple[BaseException, ...]] = (
    ValueError("bad"),
    ValueError("\ud800" * 1000),
    RecursionError(),
    TypeError(),
    TimeoutError(),
    ConnectionResetError(),
    asyncio.CancelledError(),
    KeyboardInterrupt(),
)

Tell = Callable[[Connection, CloseFrame, BaseException], object]

TELLS: Final[tuple[Tell, ...]] = (
    lambda connection, frame, error: connection.close_redundant(),
    lambda connection, frame, error: connection.write_failed(),
    lambda connection, frame, error: connection.disconnected(None),
    lambda connection, frame, error: connection.close_sent(frame),
    lambda connection, frame, error: connection.close_received(frame),
    lambda connection, frame, error: connection.close_dropped(error),
    lambda connection, frame, error: connection.error_received(ValueError(), frame),
    lambda connection, frame, error: connection.disconnected(error),
    lambda connection, frame, error: connection.close_unobserved(error),
    lambda connection, frame, error: connection.write_cancelled(asyncio.CancelledError()),
    lambda connection, frame, error: connection.error_received(error, None),
    lambda connection, frame, error: connection.message_unreadable(error),
)
"""What edges report, beside messages."""

MOVES: Final[tuple[Callable[[Place, Place], object], ...]] = (
    lambda place, other: place.attach(Context()),
    lambda place, other: place.attach(other.context),
)
"""What an application does to its context: it begins anew, or goes on with that of other code."""

short_ids = st.sampled_from(["1", "2"])
protocols = st.sampled_from([*BOTH, None])
codes = st.sampled_from(list(CloseCode)) | st.integers(0, 70_000)
frames = st.builds(CloseFrame, codes, any_text | st.just("\ud800" * 200))
errors = st.sampled_from(FAILURES)
failures = st.none() | errors
documents = st.sampled_from([None, "{ n }", "{ other }"])
sent_names = st.sampled_from(["result", "result", "error", "complete"])
names = st.none() | any_text | st.just("N" * 1000)
yes_or_no = st.sampled_from([lambda: True, lambda: False])
executions = st.builds(Execution, documents, st.none(), yes_or_no, yes_or_no)
types = st.sampled_from(["query", "mutation", "subscription"])
mappings = st.fixed_dictionaries(
    {}, optional={"type": st.sampled_from(MESSAGE_TYPES) | any_json, "id": ids, "payload": any_json}
)


def new_document() -> str:
    """A document as each message brings it: an object of its own."""
    document: str = json.loads('"{ n }"')
    return document


class AnyConnection(FakeConnection):
    """A connection, and what has happened to it."""

    def __init__(self, telemetry: Telemetry, **options: Any) -> None:
        super().__init__(config(telemetry, **options))
        self.upgraded = self.over = False
        self.unread = 0
        self.newest: tuple[object] | None = None
        """The message that was received last, unless it was handled."""
        self.messages: Counter[str] = Counter()

    def notes(self, direction: str, times: int = 1) -> None:
        """Count messages until the end; without an upgrade, none of them will have been one."""
        if not self.over:
            self.messages[direction] += times

    def settles(self) -> None:
        """Each frame of which no message was made is one all the same."""
        self.notes("receive", self.unread)
        self.unread = 0

    def reads(self, value: Any) -> None:
        """A message is made of a frame."""
        if not self.over:
            self.unread = max(0, self.unread - 1)
            self.newest = (value,)
            self.notes("receive")

    def is_newest(self, value: Any) -> bool:
        return self.newest is not None and self.newest[0] is value


@dataclass
class Work:
    """Something that the host is at, and where."""

    connection_: AnyConnection
    place: Place
    is_at: Handling | Running | None
    what: Any
    """The message, or the id of the operation."""


def one_of(machine_has: str) -> st.SearchStrategy[Any]:
    """One of the connections, places or works that the machine has by then."""
    return st.runner().flatmap(lambda machine: st.sampled_from(getattr(machine, machine_has)))


anyone = one_of("all")
"""Any connection, the view of which may be done: tasks outlive it, and go on sending."""
alive = one_of("living")
places = one_of("places")
while_alive = precondition(lambda machine: bool(machine.living))
while_running = precondition(lambda machine: bool(machine.runs))


class AnyOrder(RuleBasedStateMachine):
    """Several connections of one server, to which anything happens at any time."""

    def __init__(self) -> None:
        super().__init__()
        # What an example that failed has left is not the next one's.
        unclaimed._by_document.clear()
        self.all: list[AnyConnection] = []
        self.places = [Place()]
        self.asked: list[tuple[AnyConnection, Any]] = []
        self.handlings: list[Work] = []
        self.runs: list[Work] = []
        self.sendings: list[tuple[AnyConnection, Place, Any]] = []
        self.telemetry = Telemetry()
        self.options: dict[str, Any] = {}

    @initialize(
        protocol=st.sampled_from(BOTH),
        sampled=st.booleans(),
        shape=st.sampled_from(["linked", "nested"]),
        mode=st.sampled_from(["parent", "link", "ignore"]),
        events=st.sampled_from([0, 1, 8]),
        spans=st.booleans(),
        ordinary=st.sampled_from([(), ("connection_lost", 4100)]),
    )
    def configure(self, *, sampled: bool, **options: Any) -> None:
        self.telemetry = Telemetry(sampler=ALWAYS_ON if sampled else ALWAYS_OFF)
        self.options = {
            "trace_shape": options["shape"],
            "remote_context": options["mode"],
            "message_events": options["events"],
            "message_spans": options["spans"],
            "normal_outcomes": options["ordinary"],
        }
        self.connects(options["protocol"], upgraded=True)
        self.starts(self.all[0], "1", "subscription")

    @property
    def living(self) -> list[AnyConnection]:
        return [connection_ for connection_ in self.all if not connection_.over]

    @precondition(lambda self: len(self.all) < 3)
    @rule(protocol=protocols, upgraded=st.booleans())
    def connects(self, protocol: str | None, *, upgraded: bool) -> None:
        connection_ = AnyConnection(self.telemetry, **self.options)
        self.all.append(connection_)
        self.places.append(connection_.reader)
        if upgraded:
            self.opens(connection_, protocol)

    # --- What the edges report ---------------------------------------------------------------

    @rule(connection_=anyone, protocol=protocols)
    def opens(self, connection_: AnyConnection, protocol: str | None) -> None:
        connection_.upgraded |= not connection_.over
        connection_.accept(protocol)

    @rule(connection_=anyone, size=st.integers(0, 1 << 20), ahead=st.booleans())
    def frame_received(self, connection_: AnyConnection, size: int, *, ahead: bool) -> None:
        connection_.connection.reads_ahead |= ahead
        if not connection_.connection.reads_ahead:
            connection_.settles()
        connection_.unread += 1
        connection_.connection.data_received(size)

    @rule(connection_=anyone, value=messages, place=places)
    def received(self, connection_: AnyConnection, value: Any, place: Place) -> None:
        connection_.reads(value)
        place.run(connection_.connection.message_received, value)

    @rule(connection_=anyone, value=messages, place=places, knows=st.none() | st.booleans())
    def handling(
        self, connection_: AnyConnection, value: Any, place: Place, *, knows: bool | None
    ) -> None:
        """The host handles a message that it may have got behind our back."""
        reads_ahead = connection_.connection.reads_ahead
        if connection_.unread and not reads_ahead and not connection_.is_newest(value):
            connection_.reads(value)
        handling = place.run(
            connection_.connection.message_handling,
            value,
            connection_.request,
            knows_documents=knows,
        )
        self.handlings.append(Work(connection_, place, handling, value))

    @precondition(lambda self: self.handlings)
    @rule(work=one_of("handlings"), error=failures)
    def handled(self, work: Work, error: BaseException | None) -> None:
        self.handlings.remove(work)
        if (
            work.is_at is not None
            and not work.connection_.over
            and work.connection_.is_newest(work.what)
        ):
            work.connection_.newest = None
        work.place.run(work.connection_.connection.message_handled, work.is_at, error)

    @rule(connection_=anyone, id_=short_ids, document=documents, place=places)
    def running(
        self, connection_: AnyConnection, id_: str, document: str | None, place: Place
    ) -> None:
        begin = connection_.connection.operation_running
        running = place.run(begin, id_, document, None, connection_.request)
        self.runs.append(Work(connection_, place, running, id_))

    @while_running
    @rule(work=one_of("runs"), error=failures)
    def ran(self, work: Work, error: BaseException | None) -> None:
        self.runs.remove(work)
        work.place.run(work.connection_.connection.operation_ran, work.is_at, error)

    @rule(connection_=anyone, type_=st.sampled_from(["connection_ack", "connection_error"]))
    def greets(self, connection_: AnyConnection, type_: str) -> None:
        value = {"type": "connection_init", "payload": {}}
        self.received(connection_, value, connection_.reader)
        self.handling(connection_, value, connection_.reader, knows=None)
        self.sent(connection_, {"type": type_}, connection_.reader)
        self.handled(self.handlings[-1], None)

    @rule(
        connection_=anyone, id_=short_ids, knows=st.none() | st.booleans(), elsewhere=st.booleans()
    )
    def asks_without_document(
        self, connection_: AnyConnection, id_: str, *, knows: bool | None, elsewhere: bool
    ) -> None:
        name = START.get(connection_.protocol, "subscribe")
        value = {"type": name, "id": id_, "payload": {"extensions": {"hash": "abc"}}}
        self.received(connection_, value, connection_.reader)
        if not elsewhere:
            self.handling(connection_, value, connection_.reader, knows=knows)

    @rule(connection_=anyone, id_=short_ids)
    def asks(self, connection_: AnyConnection, id_: str) -> None:
        """A message arrives that waits to be handled."""
        name = START.get(connection_.protocol, "subscribe")
        value = {"type": name, "id": id_, "payload": {"query": new_document()}}
        self.received(connection_, value, connection_.reader)
        self.asked.append((connection_, value))

    @precondition(lambda self: self.asked)
    @rule(asked=one_of("asked"), place=places)
    def turns_to(self, asked: tuple[AnyConnection, Any], place: Place) -> None:
        """The host begins to handle it, maybe after everything is over."""
        self.asked.remove(asked)
        self.handling(*asked, place, knows=None)

    @rule(connection_=anyone, id_=short_ids, type_=types)
    def starts(self, connection_: AnyConnection, id_: str, type_: str) -> None:
        name = START.get(connection_.protocol, "subscribe")
        document = new_document()
        value = {"type": name, "id": id_, "payload": {"query": document}}
        self.received(connection_, value, connection_.reader)
        self.handling(connection_, value, connection_.reader, knows=None)
        self.places.append(connection_.reader.task())
        self.handled(self.handlings[-1], None)
        self.running(connection_, id_, document, self.places[-1])
        self.learned(self.places[-1], type_, "N", 0)

    @while_running
    @rule(work=one_of("runs"), name=sent_names, failed=st.booleans(), elsewhere=st.booleans())
    def answers(self, work: Work, name: str, *, failed: bool, elsewhere: bool) -> None:
        place = work.connection_.reader if elsewhere else work.place
        self.learned(place, "subscription", None, int(failed))
        payload: dict[str, Any] = {"data": None, "errors": [{}] if failed else None}
        type_ = RESULT.get(work.connection_.protocol, "next") if name == "result" else name
        self.sent(work.connection_, {"type": type_, "id": work.what, "payload": payload}, place)

    @while_running
    @rule(
        work=one_of("runs"),
        execution=executions,
        type_=types,
        elsewhere=st.booleans(),
        own=st.booleans(),
    )
    def executes(
        self, work: Work, execution: Execution, type_: str, *, elsewhere: bool, own: bool
    ) -> None:
        place = work.place.task() if elsewhere else work.place
        if own and isinstance(work.is_at, Running):
            execution.document = work.is_at.operation.document
        self.claimed(work.connection_, execution, place)
        self.learned(place, type_, "N", 0)

    @while_running
    @rule(work=one_of("runs"))
    def is_stopped(self, work: Work) -> None:
        self.stops(work.connection_, work.what)

    @rule(connection_=anyone, id_=short_ids, error=failures)
    def serves(self, connection_: AnyConnection, id_: str, error: BaseException | None) -> None:
        self.starts(connection_, id_, "subscription")
        self.sent(connection_, {"type": "complete", "id": id_}, self.places[-1])
        self.ran(self.runs[-1], error)

    @rule(connection_=anyone, id_=short_ids)
    def stops(self, connection_: AnyConnection, id_: str) -> None:
        value = {"type": STOP.get(connection_.protocol, "stop"), "id": id_}
        self.received(connection_, value, connection_.reader)

    @rule(connection_=anyone, message=mappings, within=places)
    def sent(self, connection_: AnyConnection, message: dict[str, Any], within: Place) -> None:
        connection_.notes("transmit")
        connection_.send_message(message, within=within)

    @rule(connection_=anyone, message=mappings, place=places)
    def sending(self, connection_: AnyConnection, message: dict[str, Any], place: Place) -> None:
        if connection_.has_message_spans:
            sending = place.run(connection_.connection.send_begun, message)
            self.sendings.append((connection_, place, sending))

    @precondition(lambda self: self.sendings)
    @rule(sending=one_of("sendings"), error=failures)
    def send_ended(
        self, sending: tuple[AnyConnection, Place, Any], error: BaseException | None
    ) -> None:
        self.sendings.remove(sending)
        connection_, place, begun = sending
        place.run(connection_.connection.send_ended, begun, error)

    @rule(connection_=anyone, message=mappings, error=st.sampled_from([ValueError(), TypeError()]))
    def not_sent(
        self, connection_: AnyConnection, message: dict[str, Any], error: Exception
    ) -> None:
        connection_.connection.message_failed(message, error)

    @rule(connection_=anyone, tell=st.sampled_from(TELLS), frame=frames, error=errors, place=places)
    def happens(
        self,
        connection_: AnyConnection,
        tell: Tell,
        frame: CloseFrame,
        error: BaseException,
        place: Place,
    ) -> None:
        place.run(tell, connection_.connection, frame, error)

    @while_alive
    @rule(connection_=alive, exception=failures, up=st.booleans())
    def ended(
        self, connection_: AnyConnection, exception: BaseException | None, *, up: bool
    ) -> None:
        connection_.settles()
        connection_.over = True
        connection_.end(exception, transport_alive=up)

    # --- What the application does -----------------------------------------------------------

    @rule(place=places, other=places, move=st.sampled_from(MOVES))
    def moves(self, place: Place, other: Place, move: Callable[[Place, Place], object]) -> None:
        move(place, other)

    @rule(place=places)
    def task(self, place: Place) -> None:
        self.places.append(place.task())

    # --- The extension ---------------------------------------------------------------------------

    @rule(connection_=anyone, execution=executions, place=places)
    def claimed(self, connection_: AnyConnection, execution: Execution, place: Place) -> None:
        connection = connection_.connection
        if place.run(connection.claim_own, execution.document) is None:
            place.run(connection.claim, execution, connection_.request)

    @rule(place=places, type_=types, name=names, count=st.integers(0, 20))
    def learned(self, place: Place, type_: str, name: str | None, count: int) -> None:
        operation = place.current.operation
        if operation is not None:
            operation.describe(type_, name)
            if count:
                operation.errors("ValueError", count, [{"graphql.error.message": "bad"}] * count)

    # --- What holds at any time --------------------------------------------------------------

    @invariant()
    def what_is_open_is_listed_with_what_was_counted(self) -> None:
        own = {each.connection.id: each for each in self.all}
        snapshots = [each for each in open_connections(None) if each.id in own]
        is_open = [id_ for id_, each in own.items() if each.upgraded and not each.over]
        assert [snapshot.id for snapshot in snapshots] == is_open
        for snapshot in snapshots:
            counted = own[snapshot.id].messages
            assert snapshot.messages_received == counted["receive"]
            assert snapshot.messages_sent == counted["transmit"]
            assert json.loads(json.dumps(snapshot.as_dict(), allow_nan=False))["id"] == snapshot.id

    # --- What holds in the end ---------------------------------------------------------------

    def teardown(self) -> None:
        if not self.all:
            return  # Hypothesis gave it up before it was configured.
        for sending in list(self.sendings):
            self.send_ended(sending, None)
        for connection_ in self.living:
            self.ended(connection_, None, up=True)
        assert not any(connection_.fuse.blown for connection_ in self.all)
        self.assert_spans()
        self.assert_counts()
        self.assert_bounds()
        assert unclaimed._by_document == {}
        self.telemetry.shutdown()

    def assert_spans(self) -> None:
        """Every span that was started ended once, every operation for one reason."""
        call_log = self.telemetry.span_counter
        assert call_log.started == call_log.ended
        assert set(call_log.ended.values()) <= {1}
        for span in self.telemetry.spans():
            attributes = attributes_of(span)
            if "graphql.ws.operation.id" in attributes and span.kind is SpanKind.SERVER:
                assert attributes["graphql.ws.operation.end_reason"] in set(EndReason)

    def assert_counts(self) -> None:
        """What was recorded is what was counted, and nothing is alive."""
        measured = self.telemetry.metrics()
        sums = {name: sum(points.values()) for name, points in measured.items()}
        assert sums.get("websocket.server.closes") == len(self.all)
        assert sums.get("websocket.server.connection.duration") == len(self.all)
        assert sums.get("websocket.server.active_connections", 0) == 0
        assert sums.get("graphql.server.subscription.active") == 0
        assert sums.get("graphql.ws.operation.duration", 0) == sum(
            connection_.connection._operations.begun for connection_ in self.all
        )
        total = self.telemetry.total
        for direction in ("receive", "transmit"):
            assert total("websocket.server.messages", network__io__direction=direction) == sum(
                connection_.messages[direction] for connection_ in self.all if connection_.upgraded
            )

    def assert_bounds(self) -> None:
        """Whatever was said, what is recorded of it is bounded."""
        wrong = [wrong for span in self.telemetry.spans() for wrong in unbounded_span(span)]
        assert [*wrong, *unbounded_labels(self.telemetry.metrics())] == []


@pytest.mark.parametrize("examples", [50, pytest.param(150, marks=pytest.mark.matrix)])
async def test_any_calls_in_any_order_leave_every_span_ended_and_every_count_right(
    examples: int,
) -> None:
    run_state_machine_as_test(
        AnyOrder, settings=settings(PROPERTY, max_examples=examples, stateful_step_count=50)
    )
