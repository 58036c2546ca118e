"""When segments end, in which order, and what the next one starts with."""

import asyncio
import gc
import subprocess
import sys
import weakref
from collections.abc import Callable, Coroutine
from contextvars import Context as Variables
from contextvars import ContextVar
from threading import Thread
from typing import Any, Final

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from strawberry_ws_otel._fuse import Fuse
from strawberry_ws_otel._propagation import Parentage
from strawberry_ws_otel._segments import Rotation, Segments, Turn, first_length, take_turns
from strawberry_ws_otel._spans import NOT_STARTED, LinkTo, SpanRecorder, Spans
from tests.support.broken_api import PipeError
from tests.support.clock import Clock, stop_clock
from tests.support.telemetry import CountingIds, Telemetry

HOUR: Final = 3600.0
REMOTE: Final = SpanContext(7, 9, is_remote=True, trace_flags=TraceFlags(1))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return stop_clock(monkeypatch)


# --- Lengths ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id_", "length"),
    [("0000000000000000", 200.0), ("8000000000000000", 250.0), ("ffffffffffffffff", 300.0)],
)
def test_the_id_of_a_connection_shortens_its_first_segment_by_up_to_a_third(
    id_: str, length: float
) -> None:
    assert first_length(300, id_) == pytest.approx(length)


def lengths(duration: float, count: int, clock: Clock, first: float | None = None) -> list[float]:
    """How long the first segments of a span last."""
    segments = Segments(duration, Parentage(Context()), clock.now, first)
    found = []
    for _ in range(count):
        found.append(segments.due - clock.now)
        clock.now = segments.due
        segments.rotate(STARTED, SPANS, Fuse(), attributes=dict, totals=dict)
    return found


SPANS: Final = Spans(trace.NoOpTracerProvider(), 8)
STARTED: Final = SpanRecorder(NonRecordingSpan(REMOTE), Fuse(), context=REMOTE)


@pytest.mark.parametrize(
    ("duration", "first", "expected"),
    [
        (300, None, [300, 600, 1200, 2400, HOUR, HOUR]),
        (300, 200.0, [200, 400, 800, 1600, 3200, HOUR]),
        (0.5, None, [0.5, 1, 2, 4, 8, 16]),
        (HOUR, 2400.0, [2400, HOUR, HOUR, HOUR, HOUR, HOUR]),
        (7200, 4800.0, [4800, 7200, 7200, 7200, 7200, 7200]),
    ],
)
def test_each_segment_is_twice_as_long_as_the_last_up_to_an_hour_or_the_duration(
    duration: float, first: float | None, expected: list[float], clock: Clock
) -> None:
    assert lengths(duration, 6, clock, first) == pytest.approx(expected)


def test_a_day_has_27_segments(clock: Clock) -> None:
    begun, count = clock.now, 0
    segments = Segments(300, Parentage(Context()), begun)
    while segments.due < begun + 86_400:
        clock.now = segments.due
        segments.rotate(STARTED, SPANS, Fuse(), attributes=dict, totals=dict)
        count += 1
    assert count + 1 == 27


def test_a_segment_that_ended_late_does_not_shorten_the_next(clock: Clock) -> None:
    segments = Segments(300, Parentage(Context()), clock.now)
    clock.passes(1000)
    segments.rotate(STARTED, SPANS, Fuse(), attributes=dict, totals=dict)
    assert segments.due == clock.now + 600


# --- What the next segment starts with --------------------------------------------------------


def begin(telemetry: Telemetry, fuse: Fuse | None = None) -> tuple[Spans, SpanRecorder]:
    spans = Spans(telemetry.tracer_provider, 8)
    return spans, spans.start("connection", fuse or Fuse(), context=Context())


def test_the_next_segment_is_a_root_linked_to_the_one_before() -> None:
    telemetry = Telemetry(ids=CountingIds())
    spans, span = begin(telemetry)
    first = span.context
    segments = Segments(300, Parentage(trace.set_span_in_context(NonRecordingSpan(first))), 0.0)
    for count in (5, 6):
        assert segments.rotate(
            span,
            spans,
            Fuse(),
            attributes=lambda: {"who": "c1"},
            totals=lambda count=count: {"count": count},  # type: ignore[misc]
        )
    span.end()
    assert telemetry.snapshots() == [
        {
            "name": "connection",
            "kind": "SERVER",
            "id": (0x1000 * number, number),
            "parent": None,
            "links": links,
            "attributes": attributes,
            "events": [],
            "status": "UNSET",
            "description": None,
        }
        for number, links, attributes in (
            (1, [], {"count": 5, "graphql.ws.segment.continued": True}),
            (
                2,
                [((0x1000, 1), {"graphql.ws.link": "segment"})],
                {
                    "who": "c1",
                    "graphql.ws.segment.number": 1,
                    "count": 6,
                    "graphql.ws.segment.continued": True,
                },
            ),
            (
                3,
                [((0x2000, 2), {"graphql.ws.link": "segment"})],
                {"who": "c1", "graphql.ws.segment.number": 2},
            ),
        )
    ]


def continued(telemetry: Telemetry, parentage: Parentage) -> dict[str, Any]:
    """The second segment of a span that has started there."""
    spans, span = begin(telemetry)
    Segments(300, parentage, 0.0).rotate(span, spans, Fuse(), attributes=dict, totals=dict)
    span.end()
    return telemetry.snapshots()[-1]


def kinds(span: dict[str, Any]) -> list[str]:
    return [attributes["graphql.ws.link"] for _, attributes in span["links"]]


def test_it_also_leads_to_the_client_s_span_that_was_the_parent_or_a_link() -> None:
    remote = trace.set_span_in_context(NonRecordingSpan(REMOTE), Context())
    carried = continued(Telemetry(), Parentage(remote, carried=remote))
    linked = continued(Telemetry(), Parentage(Context(), (LinkTo(REMOTE, "remote"),)))
    for span in (carried, linked):
        assert (span["parent"], kinds(span)) == (None, ["segment", "remote"])
        assert span["links"][-1] == ((7, 9), {"graphql.ws.link": "remote"})


def test_it_leads_to_no_other_link_of_the_first_segment() -> None:
    links = (LinkTo(REMOTE, "connection"),)
    assert kinds(continued(Telemetry(), Parentage(Context(), links))) == ["segment"]


def test_what_is_nested_stays_below_the_connection() -> None:
    below = trace.set_span_in_context(NonRecordingSpan(REMOTE), Context())
    nested = continued(Telemetry(), Parentage(below, carried=below, is_nested=True))
    assert (nested["parent"], kinds(nested)) == ((7, 9), ["segment"])


def test_what_the_application_has_set_is_on_the_next_segment_unless_it_is_ours() -> None:
    telemetry = Telemetry()
    spans, span = begin(telemetry)
    span.span.update_name("mine")
    span.span.set_attributes({"tenant": "acme", "graphql.ws.segment.number": 77})
    Segments(300, Parentage(Context()), 0.0).rotate(
        span, spans, Fuse(), attributes=lambda: {"who": "c1"}, totals=dict
    )
    span.end()
    [_, second] = telemetry.snapshots()
    assert second["name"] == "mine"
    assert second["attributes"] == {"who": "c1", "tenant": "acme", "graphql.ws.segment.number": 1}


@pytest.mark.internal_error
def test_a_span_whose_next_segment_cannot_start_goes_on() -> None:
    telemetry, fuse = Telemetry(), Fuse()
    spans, span = begin(telemetry, fuse)
    segments = Segments(300, Parentage(Context()), 0.0)

    def fails() -> dict[str, Any]:
        raise PipeError

    assert not segments.rotate(span, spans, fuse, attributes=fails, totals=dict)
    assert fuse.blown
    # Nobody tries again.
    assert not segments.rotate(span, spans, fuse, attributes=fails, totals=fails)
    span.end()
    [only] = telemetry.snapshots()
    assert (segments.number, only["attributes"]) == (0, {})


def test_a_span_goes_on_where_the_tracer_makes_none_any_more() -> None:
    telemetry = Telemetry()
    _, span = begin(telemetry)
    segments = Segments(300, Parentage(Context()), 0.0)
    assert not segments.rotate(span, SPANS, Fuse(), attributes=dict, totals=dict)
    assert span.recording


def test_nothing_starts_if_the_totals_of_the_last_segment_cannot_be_made() -> None:
    telemetry = Telemetry()
    spans, span = begin(telemetry)

    def fails() -> dict[str, Any]:
        raise PipeError

    with pytest.raises(PipeError):
        Segments(300, Parentage(Context()), 0.0).rotate(
            span, spans, Fuse(), attributes=dict, totals=fails
        )
    span.end()
    assert len(telemetry.spans()) == telemetry.span_counter.started.total() == 1


def test_what_is_not_sampled_rotates_too() -> None:
    telemetry = Telemetry(sampler=ALWAYS_OFF)
    spans, span = begin(telemetry)
    first, segments = span.context, Segments(300, Parentage(Context()), 0.0)
    assert segments.rotate(span, spans, Fuse(), attributes=dict, totals=dict)
    assert (segments.number, span.context.span_id == first.span_id) == (1, False)


# --- Taking turns ----------------------------------------------------------------------------


class Timer:
    """What a loop was asked to call."""

    def __init__(self, delay: float, call: Callable[[], None], context: Variables) -> None:
        self.delay = delay
        self.call = call
        self.context = context
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """Records the timers of a loop, and lets the stopped clock pass to the next one."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.timers: list[Timer] = []
        self.rotation = Rotation(self)  # type: ignore[arg-type]  # all that it asks a loop for

    def call_later(self, delay: float, call: Callable[[], None], context: Variables) -> Timer:
        self.timers.append(Timer(delay, call, context))
        return self.timers[-1]

    @property
    def waiting(self) -> list[float]:
        """The delays of the timers that still run."""
        return [timer.delay for timer in self.timers if not timer.is_cancelled]

    def step(self) -> None:
        """Let the time of the one timer come."""
        [timer] = [timer for timer in self.timers if not timer.is_cancelled]
        self.timers.clear()
        self.clock.passes(timer.delay)
        timer.context.run(timer.call)


class Owner:
    """Somebody whose segments end every `length` seconds."""

    def __init__(self, clock: Clock, length: float, asked: list["Owner"]) -> None:
        self.clock, self.length, self.asked = clock, length, asked
        self.turn: Turn | None = None
        self.ends_when_asked = False
        self.has_left = False

    def rotate(self) -> float:
        self.asked.append(self)
        if self.ends_when_asked:
            assert self.turn is not None
            self.turn.end()
        return self.clock.now + self.length

    def leave_open(self) -> None:
        self.has_left = True


@pytest.fixture
def loop(clock: Clock) -> Loop:
    return Loop(clock)


def owners(loop: Loop, *due: float, length: float = 1000.0) -> list[Owner]:
    asked: list[Owner] = []
    made = [Owner(loop.clock, length, asked) for _ in due]
    for owner, at in zip(made, due, strict=True):
        owner.turn = loop.rotation.add(owner, loop.clock.now + at)
    return made


def test_there_is_one_timer_for_the_first_that_is_due(loop: Loop) -> None:
    first, second, third = owners(loop, 300, 200, 250)
    assert loop.waiting == [200]
    loop.step()
    assert (first.asked, loop.waiting) == ([second], [50])
    loop.step()
    assert (first.asked, loop.waiting) == ([second, third], [50])
    loop.step()
    assert (first.asked, loop.waiting) == ([second, third, first], [900])


def test_a_step_ends_8_segments_and_lets_10_milliseconds_pass(loop: Loop) -> None:
    many = owners(loop, *[300.0] * 20)
    asked, steps = many[0].asked, []
    for _ in range(3):
        loop.step()
        steps.append((len(asked), loop.waiting))
    assert steps == [(8, [0.01]), (16, [0.01]), (20, pytest.approx([999.98]))]
    assert asked == many


def test_a_timer_waits_an_hour_at_most(loop: Loop) -> None:
    [only] = owners(loop, float("inf"))
    assert loop.waiting == [HOUR]
    loop.step()
    assert (only.asked, loop.waiting) == ([], [HOUR])


def test_a_timer_keeps_nothing_of_the_context_in_which_it_was_set(loop: Loop) -> None:
    variable: ContextVar[str] = ContextVar("variable")
    variable.set("something large")
    kept = owners(loop, 300)
    assert (len(kept), variable in loop.timers[0].context) == (1, False)


def test_without_a_turn_there_is_no_timer(loop: Loop) -> None:
    first, second = owners(loop, 300, 400)
    assert first.turn is not None
    assert second.turn is not None
    first.turn.end()
    assert loop.waiting == [300]
    second.turn.end()
    assert loop.waiting == []
    owners(loop, 500)
    assert loop.waiting == [500]


def test_who_has_ended_is_asked_no_more(loop: Loop) -> None:
    first, *others = owners(loop, 300, 300, 300, 300)
    assert first.turn is not None
    first.turn.end()
    loop.step()
    assert first.asked == others


def test_who_ends_while_it_is_asked_is_asked_no_more(loop: Loop) -> None:
    first, second = owners(loop, 300, 300, length=100)
    first.ends_when_asked = True
    for _ in range(3):
        loop.step()
    assert first.asked == [first, second, second, second]


def test_the_last_one_may_end_while_it_is_asked(loop: Loop) -> None:
    [only] = owners(loop, 300)
    only.ends_when_asked = True
    loop.step()
    assert (only.asked, loop.waiting) == ([only], [])


def test_turns_that_have_ended_are_dropped_before_they_are_due(loop: Loop) -> None:
    many = owners(loop, *[300.0] * 1000)
    for owner in many[:900]:
        assert owner.turn is not None
        owner.turn.end()
    owners(loop, 300.0)
    assert len(loop.rotation._turns) == 101


def test_a_rotation_keeps_nobody_alive(loop: Loop) -> None:
    [only] = owners(loop, 300)
    gone = weakref.ref(only)
    del only
    gc.collect()
    assert gone() is None
    loop.step()
    assert loop.waiting == []


def test_a_turn_that_another_thread_ends_leaves_the_timer_alone(loop: Loop) -> None:
    [only] = owners(loop, 300)
    assert only.turn is not None
    thread = Thread(target=only.turn.end)
    thread.start()
    thread.join()
    assert loop.waiting == [300]
    loop.step()
    assert (only.asked, loop.waiting) == ([], [])


def test_a_turn_ends_once(loop: Loop) -> None:
    first, second = owners(loop, 300, 400)
    assert first.turn is not None
    first.turn.end()
    first.turn.end()
    assert loop.waiting == [300]
    loop.step()
    loop.step()
    assert second.asked == [second]


def test_a_span_without_an_id_of_its_own_has_no_segments() -> None:
    telemetry = Telemetry()
    spans, _ = begin(telemetry)
    segments = Segments(300, Parentage(Context()), 0.0)
    assert not segments.rotate(NOT_STARTED, spans, Fuse(), attributes=dict, totals=dict)


def test_all_can_be_left_open_at_once(loop: Loop) -> None:
    first, second, third = owners(loop, 300, 400, 500)
    assert second.turn is not None
    second.turn.end()
    loop.rotation.leave_open()
    assert [owner.has_left for owner in (first, second, third)] == [True, False, True]


# --- Event loops -----------------------------------------------------------------------------


class Waited(Owner):
    """Somebody whose turn can be awaited."""

    def __init__(self) -> None:
        super().__init__(Clock(), 0, [])
        self.was_asked = asyncio.Event()

    def rotate(self) -> float:
        self.was_asked.set()
        return float("inf")


async def test_a_running_loop_takes_turns() -> None:
    first, second = Waited(), Waited()
    turns = [take_turns(owner, 0.0) for owner in (first, second)]
    async with asyncio.timeout(20):
        await first.was_asked.wait()
        await second.was_asked.wait()
    for turn in turns:
        assert turn is not None
        turn.end()


def test_without_a_loop_nobody_takes_turns() -> None:
    assert take_turns(Waited(), 0.0) is None


def run_in_loop(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    with asyncio.Runner() as runner:
        return runner.run(main())


def test_each_loop_has_a_rotation_of_its_own_which_ends_with_its_turns() -> None:
    async def rotation() -> tuple[Any, Turn]:
        owner = Waited()
        turn = take_turns(owner, float("inf"))
        assert turn is not None
        return weakref.ref(turn._rotation), turn

    (first, one), (second, other) = run_in_loop(rotation), run_in_loop(rotation)
    assert first() is not second()
    del one, other
    gc.collect()
    assert (first(), second()) == (None, None)


def test_what_all_loops_have_is_left_open() -> None:
    async def leave_open() -> bool:
        owner = Waited()
        turn = take_turns(owner, float("inf"))
        take_turns.__self__.leave_open()  # type: ignore[attr-defined]  # of the registry
        assert turn is not None
        turn.end()
        return owner.has_left

    assert run_in_loop(leave_open)


OPEN: Final = """
import asyncio, os
from strawberry_ws_otel._segments import take_turns

class Owner:
    def rotate(self): return float("inf")
    def leave_open(self): print("left open", flush=True)

async def main():
    owner = Owner()
    return owner, take_turns(owner, 300.0)

kept = asyncio.run(main())
"""
FORK: Final = """
if os.fork() == 0:
    raise SystemExit
os.wait()
print("the child has ended", flush=True)
"""


@pytest.mark.parametrize(
    ("program", "printed"),
    [(OPEN, "left open\n"), (OPEN + FORK, "the child has ended\nleft open\n")],
    ids=["exit", "fork"],
)
def test_what_is_open_is_left_open_as_its_own_process_exits(program: str, printed: str) -> None:
    ended = subprocess.run(  # noqa: S603  # our own
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (ended.stdout, ended.stderr) == (printed, "")
