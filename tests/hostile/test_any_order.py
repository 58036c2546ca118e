"""Whatever a connection is told, in whatever order, nothing is raised, lost or told twice."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from strawberry_ws_otel._close import CloseCode, CloseFrame
from strawberry_ws_otel._connection import Connection
from strawberry_ws_otel._operation import Operation, current_operation
from strawberry_ws_otel._ws_operation import EndReason
from tests.hostile.bounds import unbounded_labels, unbounded_span
from tests.recorded import config
from tests.strategies import MESSAGE_TYPES, PROPERTY, any_json, any_text, ids, messages
from tests.talk import BOTH, START, STOP, Talk
from tests.telemetry import Telemetry, attributes_of

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

EVENTS: Final[tuple[Callable[[Connection], object], ...]] = (
    lambda connection: connection.conversation.handled(),
    lambda connection: connection.closing.redundant(),
    lambda connection: connection.closing.send_failed(),
    lambda connection: connection.closing.stream_ended(None),
    lambda connection: connection.closing.socket_failed(None),
)
CLOSES: Final[tuple[Callable[[Connection, CloseFrame], None], ...]] = (
    lambda connection, frame: connection.closing.frame_sent(frame),
    lambda connection, frame: connection.closing.frame_received(frame),
    lambda connection, frame: connection.closing.frame_failed(ValueError(), frame),
)
FAILS: Final[tuple[Callable[[Connection, BaseException], None], ...]] = (
    lambda connection, error: connection.closing.stream_ended(error),
    lambda connection, error: connection.closing.socket_failed(error),
    lambda connection, error: connection.closing.frame_failed(error, None),
)

short_ids = st.sampled_from(["1", "2"])
protocols = st.sampled_from([*BOTH, None])
codes = st.sampled_from(list(CloseCode)) | st.integers(0, 70_000)
frames = st.builds(CloseFrame, codes, any_text | st.just("\ud800" * 200))
failures = st.none() | st.sampled_from(FAILURES)
mappings = st.fixed_dictionaries(
    {}, optional={"type": st.sampled_from(MESSAGE_TYPES) | any_json, "id": ids, "payload": any_json}
)


class Told(Talk):
    """A connection, and what it has been told."""

    def __init__(self, telemetry: Telemetry, **options: Any) -> None:
        super().__init__(config(telemetry, **options))
        self.upgraded = self.over = self.unread = False
        self.messages: Counter[str] = Counter()

    def notes(self, direction: str) -> None:
        """Count a message until the end; without an upgrade, none of them will have been one."""
        if not self.over:
            self.messages[direction] += 1

    def settles(self) -> None:
        """A frame of which no message was made is one all the same."""
        if self.unread:
            self.notes("receive")
        self.unread = False


def operation_of(context: Context) -> Operation | None:
    token = attach(context)
    try:
        return current_operation()
    finally:
        detach(token)


class Task:
    """A task that is done, cancelled or not."""

    def __init__(self, *, cancelled: bool) -> None:
        self._cancelled = cancelled

    def cancelling(self) -> int:
        return int(self._cancelled)


def one_of(machine_has: str) -> st.SearchStrategy[Any]:
    """One of the connections, or of the contexts, that the machine has by then."""
    return st.runner().flatmap(lambda machine: st.sampled_from(getattr(machine, machine_has)))


anyone = one_of("all")
"""Any connection, the view of which may be done: tasks outlive it, and go on telling."""
alive = one_of("living")
contexts = one_of("contexts")
while_alive = precondition(lambda machine: bool(machine.living))


class AnyOrder(RuleBasedStateMachine):
    """Several connections of one server, told anything by anybody at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Told] = []
        self.contexts = [Context()]
        self.telemetry = Telemetry()
        self.options: dict[str, Any] = {}

    @initialize(
        protocol=st.sampled_from(BOTH),
        sampled=st.booleans(),
        shape=st.sampled_from(["linked", "nested"]),
        mode=st.sampled_from(["parent", "link", "ignore"]),
        events=st.sampled_from([0, 1, 8]),
        ordinary=st.sampled_from([(), ("connection_lost", 4100)]),
    )
    def configure(self, *, sampled: bool, **options: Any) -> None:
        self.telemetry = Telemetry(sampler=ALWAYS_ON if sampled else ALWAYS_OFF)
        self.options = {
            "trace_shape": options["shape"],
            "remote_context": options["mode"],
            "message_events": options["events"],
            "normal_outcomes": options["ordinary"],
        }
        self.connects(options["protocol"], upgraded=True)

    @property
    def living(self) -> list[Told]:
        return [told for told in self.all if not told.over]

    @precondition(lambda self: len(self.all) < 3)
    @rule(protocol=protocols, upgraded=st.booleans())
    def connects(self, protocol: str | None, *, upgraded: bool) -> None:
        told = Told(self.telemetry, **self.options)
        self.all.append(told)
        if upgraded:
            self.opens(told, protocol)

    # --- What the edges tell -----------------------------------------------------------------

    @rule(told=anyone, protocol=protocols)
    def opens(self, told: Told, protocol: str | None) -> None:
        told.upgraded |= not told.over
        told.opens(protocol)

    @rule(told=anyone, size=st.integers(0, 1 << 20))
    def frame_received(self, told: Told, size: int) -> None:
        told.settles()
        told.unread = True
        told.connection.conversation.frame_received(size)

    @rule(told=anyone, value=messages)
    def received(self, told: Told, value: Any) -> None:
        told.unread = False
        told.notes("receive")
        self.contexts.append(told.connection.conversation.received(value))

    @rule(told=anyone, id_=short_ids, type_=st.sampled_from(["query", "mutation", "subscription"]))
    def starts(self, told: Told, id_: str, type_: str) -> None:
        name = START.get(told.protocol, "subscribe")
        self.received(told, {"type": name, "id": id_, "payload": {"query": "{ n }"}})
        self.described(self.contexts[-1], type_, "N")

    @rule(told=anyone, id_=short_ids, name=st.sampled_from(["next", "data", "error", "complete"]))
    def answers(self, told: Told, id_: str, name: str) -> None:
        self.sent(told, {"type": name, "id": id_}, None, told.connection.context)

    @rule(told=anyone, id_=short_ids, raising=failures)
    def serves(self, told: Told, id_: str, raising: BaseException | None) -> None:
        self.starts(told, id_, "subscription")
        told.connection.conversation.handled()
        self.sent(told, {"type": "complete", "id": id_}, raising, self.contexts[-1])

    @rule(told=anyone, id_=short_ids)
    def stops(self, told: Told, id_: str) -> None:
        self.received(told, {"type": STOP.get(told.protocol, "stop"), "id": id_})

    @rule(told=anyone, message=mappings, raising=failures, within=contexts)
    def sent(
        self, told: Told, message: dict[str, Any], raising: BaseException | None, within: Context
    ) -> None:
        told.notes("transmit")
        told.sends(message, raising=raising, within=within)

    @rule(told=anyone, message=mappings, error=st.sampled_from([ValueError(), TypeError()]))
    def not_sent(self, told: Told, message: dict[str, Any], error: Exception) -> None:
        told.connection.conversation.not_sent(message, error)

    @rule(told=anyone, happens=st.sampled_from(EVENTS), in_reader=st.booleans())
    def happens(
        self, told: Told, happens: Callable[[Connection], object], *, in_reader: bool
    ) -> None:
        told.in_reader = in_reader
        happens(told.connection)

    @rule(told=anyone, close=st.sampled_from(CLOSES), frame=frames)
    def closes(
        self, told: Told, close: Callable[[Connection, CloseFrame], None], frame: CloseFrame
    ) -> None:
        close(told.connection, frame)

    @rule(told=anyone, fail=st.sampled_from(FAILS), error=st.sampled_from(FAILURES))
    def fails(
        self, told: Told, fail: Callable[[Connection, BaseException], None], error: BaseException
    ) -> None:
        fail(told.connection, error)

    @while_alive
    @rule(told=alive, exception=failures, up=st.booleans())
    def ended(self, told: Told, exception: BaseException | None, *, up: bool) -> None:
        told.settles()
        told.over = True
        told.connection.facts.transport_up = up
        told.connection.ended(exception)

    # --- What the extension tells ------------------------------------------------------------

    @rule(
        context=contexts,
        type_=st.sampled_from(["query", "mutation", "subscription"]),
        name=st.none() | any_text | st.just("N" * 1000),
    )
    def described(self, context: Context, type_: str, name: str | None) -> None:
        operation = operation_of(context)
        if operation is not None:
            operation.describe(type_, name)

    @rule(context=contexts, count=st.integers(1, 20))
    def erred(self, context: Context, count: int) -> None:
        operation = operation_of(context)
        if operation is not None:
            operation.errors("ValueError", count, [{"graphql.error.message": "bad"}] * count)

    @rule(context=contexts, cancelled=st.booleans())
    def task_done(self, context: Context, *, cancelled: bool) -> None:
        operation = operation_of(context)
        if operation is not None:
            task = cast("asyncio.Task[object]", Task(cancelled=cancelled))
            operation.task_done(task)  # type: ignore[attr-defined]  # it is one over a WebSocket

    # --- What holds in the end ---------------------------------------------------------------

    def teardown(self) -> None:
        if not self.all:
            return  # Hypothesis gave it up before it was configured.
        for told in self.living:
            self.ended(told, None, up=True)
        assert not any(told.fuse.blown for told in self.all)
        self.assert_spans()
        self.assert_counts()
        self.assert_bounds()
        self.telemetry.shutdown()

    def assert_spans(self) -> None:
        """Every span that was started ended once, every operation for one reason."""
        ledger = self.telemetry.ledger
        assert ledger.started == ledger.ended
        assert set(ledger.ended.values()) <= {1}
        for span in self.telemetry.spans():
            attributes = attributes_of(span)
            if "graphql.ws.operation.id" in attributes:
                assert attributes["graphql.ws.operation.end_reason"] in set(EndReason)

    def assert_counts(self) -> None:
        """What was told is what was counted, and nothing is alive."""
        measured = self.telemetry.metrics()
        sums = {name: sum(points.values()) for name, points in measured.items()}
        assert sums.get("websocket.server.closes") == len(self.all)
        assert sums.get("websocket.server.connection.duration") == len(self.all)
        assert sums.get("websocket.server.active_connections", 0) == 0
        assert sums.get("graphql.server.subscription.active") == 0
        assert sums.get("graphql.ws.operation.duration", 0) == sum(
            told.connection.conversation._operations.begun for told in self.all
        )
        total = self.telemetry.total
        for direction in ("receive", "transmit"):
            assert total("websocket.server.messages", network__io__direction=direction) == sum(
                told.messages[direction] for told in self.all if told.upgraded
            )

    def assert_bounds(self) -> None:
        """Whatever was said, what is recorded of it is bounded."""
        wrong = [wrong for span in self.telemetry.spans() for wrong in unbounded_span(span)]
        assert [*wrong, *unbounded_labels(self.telemetry.metrics())] == []


def test_any_calls_in_any_order_leave_every_span_ended_and_every_count_right() -> None:
    run_state_machine_as_test(
        AnyOrder, settings=settings(PROPERTY, max_examples=100, stateful_step_count=30)
    )
