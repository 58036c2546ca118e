"""Whose code is running: kept apart from OpenTelemetry's context, which stays the application's."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import opentelemetry.context
import pytest
from opentelemetry import baggage, trace
from opentelemetry.context import Context, attach, get_current, set_value
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext

from strawberry_ws_otel._current import (
    Activation,
    Current,
    Placement,
    application_context,
    current,
    is_being_cancelled,
    joined,
    placement_of,
    put_back,
    replace_current,
    running_task,
)
from strawberry_ws_otel._fuse import Fuse
from strawberry_ws_otel._spans import SpanRecorder, span_id
from tests.support.fake_connection import Place
from tests.support.log import LogKeeper

TRACE: Final = 0xABC
OURS, OUTER, THEIRS, REMOTE = 1, 2, 3, 4
"""Ids of spans: of ours, of one of ours around it, of the application, of a client."""

NOBODY: Final = Current()


def span(id_: int) -> NonRecordingSpan:
    return NonRecordingSpan(SpanContext(TRACE, id_, is_remote=False))


def recorder(id_: int) -> SpanRecorder:
    """Our side of a span."""
    real = span(id_)
    return SpanRecorder(real, Fuse(), recording=False, first=0, context=real.get_span_context())


def holding(id_: int = 0, base: Context | None = None, /, **entries: str) -> Context:
    """A context with that span, if there is one, and those entries of baggage."""
    context = Context() if base is None else base
    if id_:
        context = trace.set_span_in_context(span(id_), context)
    for name, value in entries.items():
        context = baggage.set_baggage(name, value, context)
    return context


def placed(id_: int, below: Context, carried: Context | None = None) -> Placement:
    placement = placement_of(recorder(id_), below, carried)
    assert placement is not None
    return placement


def recorded(context: Context) -> tuple[int, dict[str, object]]:
    """The span and the baggage of a context."""
    return span_id(context), dict(baggage.get_all(context))


# --- A span on top of a context --------------------------------------------------------------


@pytest.mark.parametrize(("context", "id_"), [(Context(), 0), (holding(THEIRS), THEIRS)])
def test_a_span_is_known_by_its_id(context: Context, id_: int) -> None:
    assert span_id(context) == id_


def test_what_a_carrier_brings_comes_beside_what_the_application_has() -> None:
    context = set_value("own", 1, holding(THEIRS, user="ann"))
    carried = set_value("brought", 2, holding(REMOTE, user="eve", tenant="acme"))
    joint = joined(context, carried)
    assert recorded(joint) == (REMOTE, {"user": "ann", "tenant": "acme"})
    assert (joint["own"], joint["brought"]) == (1, 2)


@pytest.mark.parametrize("user", [{}, {"user": "ann"}])
def test_a_carrier_without_baggage_changes_no_baggage(user: dict[str, str]) -> None:
    assert recorded(joined(holding(THEIRS, **user), holding(REMOTE))) == (REMOTE, user)


def test_a_span_without_an_id_of_its_own_is_put_nowhere() -> None:
    off = SpanRecorder(INVALID_SPAN, Fuse(), recording=False, first=0)
    assert placement_of(off, holding(THEIRS)) is None


def test_a_span_is_put_on_top_and_everything_else_stays() -> None:
    below = set_value("own", 1, holding(THEIRS, user="ann"))
    placement = placed(OURS, below)
    assert placement.below is below
    assert recorded(placement.context) == (OURS, {"user": "ann"})
    assert placement.context["own"] == 1


def test_a_span_is_put_on_top_with_what_a_carrier_brought() -> None:
    placement = placed(OURS, holding(THEIRS, user="ann"), holding(REMOTE, tenant="acme"))
    assert recorded(placement.context) == (OURS, {"user": "ann", "tenant": "acme"})


def test_a_span_is_on_top_whatever_object_it_comes_back_as() -> None:
    placement = placed(OURS, Context())
    assert placement.is_on_top(placement.context)
    assert placement.is_on_top(holding(OURS))
    assert not placement.is_on_top(holding(THEIRS))
    assert not placement.is_on_top(Context())


def test_a_span_that_moves_brings_along_what_the_carrier_brought() -> None:
    placement = placed(OURS, holding(THEIRS), holding(REMOTE, tenant="acme"))
    moved = placement.moved(holding(user="ann"))
    assert recorded(moved.below) == (0, {"user": "ann"})
    assert recorded(moved.context) == (OURS, {"user": "ann", "tenant": "acme"})
    assert moved.span is placement.span


def test_another_span_takes_the_place_of_one_with_what_the_carrier_brought() -> None:
    placement = placed(OUTER, BELOW, CARRIED).over(recorder(OURS))
    assert placement is not None
    assert placement.below is BELOW
    assert recorded(placement.context) == recorded(placed(OURS, BELOW, CARRIED).context)
    assert placed(OUTER, BELOW).over(SpanRecorder(INVALID_SPAN, Fuse())) is None


BELOW: Final = set_value("shared", "below", holding(THEIRS, user="ann"))
CARRIED: Final = set_value(
    "brought", 1, set_value("shared", "carried", holding(REMOTE, tenant="acme", user="eve"))
)


def unchanged(context: Context) -> Context:
    return context


def add_value(context: Context) -> Context:
    return set_value("mine", 1, context)


def add_baggage(context: Context) -> Context:
    return baggage.set_baggage("mine", "1", context)


def change_baggage(context: Context) -> Context:
    return baggage.set_baggage("tenant", "other", context)


def leave_span(context: Context) -> Context:
    return holding(5, context)


def replace_brought(context: Context) -> Context:
    return set_value("shared", "mine", context)


def start_anew(_: Context) -> Context:
    return Context()


Change = Callable[[Context], Context]

REMOVALS: Final[dict[Change, tuple[int, dict[str, str], dict[str, object]]]] = {
    # what the application does: the span, the baggage and the other values without us
    unchanged: (THEIRS, {"user": "ann"}, {"shared": "below"}),
    add_value: (THEIRS, {"user": "ann"}, {"shared": "below", "mine": 1}),
    add_baggage: (THEIRS, {"user": "ann", "mine": "1"}, {"shared": "below"}),
    change_baggage: (THEIRS, {"user": "ann", "tenant": "other"}, {"shared": "below"}),
    leave_span: (5, {"user": "ann"}, {"shared": "below"}),
    replace_brought: (THEIRS, {"user": "ann"}, {"shared": "mine"}),
    start_anew: (0, {}, {}),
}


@pytest.mark.parametrize("change", REMOVALS)
@pytest.mark.parametrize("carried", [None, CARRIED], ids=["", "with a carrier"])
def test_what_is_left_without_us_is_what_the_application_has_made(
    change: Change, carried: Context | None
) -> None:
    placement = placed(OURS, BELOW, carried)
    left = placement.removed_from(change(placement.context))
    values = {key: left[key] for key in ("shared", "mine", "brought") if key in left}
    assert (*recorded(left), values) == REMOVALS[change]


def test_a_context_of_ours_without_us_is_the_very_one_below() -> None:
    placement = placed(OURS, BELOW, CARRIED)
    assert placement.removed_from(placement.context) is BELOW


def test_a_context_that_never_was_ours_stays_the_very_same() -> None:
    context = holding(5, user="ann")
    assert placed(OURS, BELOW).removed_from(context) is context
    assert placed(OURS, BELOW, CARRIED).removed_from(context) is context


# --- For whom code runs ----------------------------------------------------------------------


class Somewhere(Place):
    """A place in which code can begin to run for somebody, and be done."""

    def __init__(self, context: Context | None = None) -> None:
        super().__init__()
        self.fuse = Fuse()
        self.activations: list[Activation] = []
        if context is not None:
            self.attach(context)

    def enters(
        self, placement: Placement | None = None, request: Any = "request", operation: Any = None
    ) -> Current:
        inside = Current(request, operation, placement)
        self.activations.append(self.run(Activation, inside, self.fuse))
        return inside

    def puts(self, id_: int, **whom: Any) -> Placement:
        """Enter with a span of ours on top of what the application has here."""
        placement = placed(id_, self.run(application_context))
        self.enters(placement, **whom)
        return placement

    def end(self) -> None:
        self.run(self.activations.pop().end)


def test_code_runs_for_nobody_unless_somebody_says_so() -> None:
    assert Place().run(current) == NOBODY == (None, None, None)


def test_code_runs_for_whom_it_was_entered_and_no_longer() -> None:
    place = Somewhere()
    outer = place.enters(request="request")
    inner = place.enters(request="request", operation="operation")
    assert place.current is inner
    place.end()
    assert place.current is outer
    place.end()
    assert place.current == NOBODY


def test_a_task_runs_for_whom_it_was_started() -> None:
    place = Somewhere()
    inside = place.enters()
    task = place.task()
    place.end()
    assert (place.current, task.current) == (NOBODY, inside)


def test_without_a_span_the_context_is_not_touched() -> None:
    place = Somewhere(before := holding(THEIRS))
    place.enters()
    assert place.context is before
    place.end()
    assert place.context is before


def test_the_span_is_current_inside_and_the_context_outside_is_the_very_same() -> None:
    place = Somewhere(before := holding(THEIRS, user="ann"))
    place.puts(OURS)
    assert recorded(place.context) == (OURS, {"user": "ann"})
    place.end()
    assert place.context is before


def test_a_span_that_is_there_already_is_not_put_there_again() -> None:
    place = Somewhere()
    placement = place.puts(OURS)
    inner = set_value("mine", 1, place.context)
    place.attach(inner)
    place.enters(placement, operation="operation")
    assert place.context is inner
    place.end()
    assert place.context is inner


@pytest.mark.parametrize("change", REMOVALS)
def test_what_the_application_attaches_inside_is_there_outside(change: Change) -> None:
    place = Somewhere(BELOW)
    placement = place.puts(OURS)
    place.attach(change(placement.context))
    place.end()
    assert place.current == NOBODY
    left = place.context
    values = {key: left[key] for key in ("shared", "mine", "brought") if key in left}
    # Without a carrier it is the application that has put "tenant" there.
    assert (*recorded(left), values) == REMOVALS[change]


def test_what_is_attached_in_the_inner_of_two_is_there_outside_of_both() -> None:
    place = Somewhere(holding(user="ann"))
    place.puts(OUTER)
    inner = place.puts(OURS)
    place.attach(add_baggage(inner.context))
    place.end()
    assert recorded(place.context) == (OUTER, {"user": "ann", "mine": "1"})
    outer = place.current.placement
    assert outer is not None
    assert outer.is_on_top(place.context)
    place.end()
    assert recorded(place.context) == (0, {"user": "ann", "mine": "1"})


def test_the_outer_span_comes_back_on_top_of_a_context_that_was_begun_anew() -> None:
    place = Somewhere(holding(user="ann"))
    place.puts(OUTER)
    place.puts(OURS)
    place.attach(holding(tenant="acme"))
    place.end()
    assert recorded(place.context) == (OUTER, {"tenant": "acme"})
    place.end()
    assert recorded(place.context) == (0, {"tenant": "acme"})


def test_a_span_that_the_application_leaves_current_hides_the_outer_one() -> None:
    place = Somewhere()
    place.puts(OUTER)
    inner = place.puts(OURS)
    place.attach(leave_span(inner.context))
    place.end()
    assert span_id(place.context) == 5
    place.end()
    assert span_id(place.context) == 5


def test_a_span_of_the_applications_around_the_inner_one_is_current_again() -> None:
    place = Somewhere()
    place.puts(OUTER)
    place.attach(holding(THEIRS, place.context))
    inner = place.puts(OURS)
    place.attach(add_baggage(inner.context))
    place.end()
    assert recorded(place.context) == (THEIRS, {"mine": "1"})


@pytest.mark.parametrize(
    "other", [Current("another", None, None), Current("request", "another", None)]
)
def test_whoever_leaves_where_somebody_else_runs_leaves_everything_alone(other: Current) -> None:
    place, elsewhere = Somewhere(), Somewhere(context := holding(THEIRS))
    place.puts(OURS)
    elsewhere.enters(request=other.request, operation=other.operation)
    elsewhere.run(place.activations.pop().end)
    assert elsewhere.current == other
    assert elsewhere.context is context


def test_code_may_go_on_for_somebody_else_with_another_span() -> None:
    place = Somewhere()
    place.puts(OUTER)
    ours = placed(OURS, holding(user="ann"))
    place.run(replace_current, place.fuse, operation="operation", placement=ours)
    assert place.current == ("request", "operation", ours)
    assert place.context is ours.context


def test_code_may_go_on_for_somebody_else_in_the_same_context() -> None:
    place = Somewhere(before := holding(THEIRS))
    place.enters()
    place.run(replace_current, place.fuse, operation="operation")
    place.run(replace_current, place.fuse, placement=None)
    assert place.current == ("request", "operation", None)
    assert place.context is before


def test_a_span_that_was_replaced_inside_is_the_one_that_goes() -> None:
    place = Somewhere(holding(user="ann"))
    place.puts(OUTER)
    moved = placed(OURS, holding(tenant="acme"))
    place.run(replace_current, place.fuse, placement=moved)
    place.end()
    assert recorded(place.context) == (0, {"tenant": "acme"})
    assert place.current == NOBODY


def test_an_operation_that_was_taken_over_inside_is_left_as_well() -> None:
    place = Somewhere(before := holding(THEIRS, user="ann"))
    place.enters(operation="message")
    ours = placed(OURS, before)
    place.run(replace_current, place.fuse, operation="operation", placement=ours)
    place.end()
    assert place.current == NOBODY
    assert recorded(place.context) == recorded(before)


# --- The context of the application ----------------------------------------------------------


def test_without_us_the_context_of_the_application_is_the_current_one() -> None:
    place = Somewhere(context := holding(THEIRS))
    assert place.run(application_context) is context


def test_the_context_of_the_application_is_the_one_below_our_span() -> None:
    place = Somewhere(context := holding(THEIRS))
    place.puts(OURS)
    assert place.run(application_context) is context


def test_a_span_of_ours_that_the_application_has_kept_is_not_its_own() -> None:
    place = Somewhere()
    stale = placed(OUTER, holding(user="ann")).context
    place.puts(OURS)
    place.attach(stale)
    assert recorded(place.run(application_context)) == (0, {"user": "ann"})


# --- Other runtime contexts ------------------------------------------------------------------


class Failing(ContextVarsRuntimeContext):
    """A runtime context that raises."""

    def attach(self, context: Context) -> Any:
        raise OSError("attach")


class Translating(ContextVarsRuntimeContext):
    """A runtime context that keeps the span and the baggage, and a span that has ended does not.

    As a vendor's does.
    """

    ended: frozenset[int] = frozenset()

    def get_current(self) -> Context:
        context = super().get_current()
        id_ = span_id(context)
        context = holding(0 if id_ in self.ended else id_, **_entries(context))
        return context or super().get_current()


def _entries(context: Context) -> dict[str, Any]:
    return dict(baggage.get_all(context))


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opentelemetry.context, "_RUNTIME_CONTEXT", Failing())


@pytest.fixture
def translating(monkeypatch: pytest.MonkeyPatch) -> Translating:
    runtime = Translating()
    monkeypatch.setattr(opentelemetry.context, "_RUNTIME_CONTEXT", runtime)
    return runtime


@pytest.mark.internal_error
def test_whose_code_runs_is_known_even_if_the_runtime_context_fails(
    failing: None, library_log: LogKeeper
) -> None:
    place = Somewhere()
    inside = place.enters(placed(OURS, Context()))
    assert place.current is inside
    ours = placed(OUTER, Context())
    place.run(replace_current, place.fuse, operation="operation", placement=ours)
    assert place.current == ("request", "operation", ours)
    place.run(replace_current, place.fuse, operation=None)
    place.end()
    assert place.current == NOBODY
    assert place.fuse.blown
    assert len(library_log.records) == 1


def test_a_runtime_context_that_translates_is_left_as_it_was_found(
    translating: Translating,
) -> None:
    place = Somewhere(holding(THEIRS, user="ann"))
    place.puts(OURS)
    assert recorded(place.context) == (OURS, {"user": "ann"})
    place.end()
    assert recorded(place.context) == (THEIRS, {"user": "ann"})


def test_a_span_of_ours_that_has_ended_and_is_no_longer_current_was_not_taken_away(
    translating: Translating,
) -> None:
    place = Somewhere(holding(THEIRS, user="ann"))
    place.puts(OURS)
    translating.ended = frozenset({OURS})
    place.end()
    assert recorded(place.context) == (THEIRS, {"user": "ann"})


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (add_baggage, (THEIRS, {"user": "ann", "mine": "1"})),
        (leave_span, (5, {"user": "ann"})),
        (start_anew, (0, {})),
    ],
)
def test_what_the_application_attaches_in_a_runtime_context_that_translates_stays(
    change: Change, left: tuple[int, dict[str, str]], translating: Translating
) -> None:
    place = Somewhere(holding(THEIRS, user="ann"))
    place.puts(OURS)
    place.attach(change(place.context))
    place.end()
    assert recorded(place.context) == left


@pytest.mark.parametrize(
    ("lost_to", "is_current", "left"),
    [
        (Context(), True, OURS),
        (holding(THEIRS), True, OURS),
        (holding(OUTER), True, OURS),
        (holding(OURS), True, OURS),
        (holding(5), False, 5),
    ],
)
def test_a_span_is_put_back_unless_the_application_has_made_another_one_current(
    lost_to: Context, left: int, translating: Translating, *, is_current: bool
) -> None:
    place = Somewhere(holding(THEIRS))
    placement = placed(OURS, holding(THEIRS))
    place.enters(placement)
    place.attach(lost_to)
    assert place.run(put_back, placement.span, recorder(OUTER)) is is_current
    assert span_id(place.context) == left


def test_a_span_is_put_back_only_where_it_was_and_where_the_context_is_translated() -> None:
    place, own = Somewhere(), placed(OURS, Context())
    assert place.run(put_back, own.span, recorder(OUTER))
    place.enters(placed(THEIRS, Context()))
    assert place.run(put_back, own.span, recorder(OUTER))
    place.enters(own)
    place.attach(Context())
    assert place.run(put_back, own.span, recorder(OUTER))
    assert place.context == {}


def test_what_the_application_detaches_inside_is_not_there_outside() -> None:
    place = Somewhere()

    def attach_and_detach() -> tuple[int, int]:
        token = attach(leave_span(get_current()))
        inside = span_id(get_current())
        opentelemetry.context.detach(token)
        return inside, span_id(get_current())

    place.puts(OURS)
    assert place.run(attach_and_detach) == (5, OURS)
    place.end()
    assert place.context == {}


# --- The running task ------------------------------------------------------------------------


async def test_the_running_task_is_known_and_whether_it_was_asked_to_stop() -> None:
    async def is_asked() -> bool:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return is_being_cancelled()

    task = asyncio.create_task(is_asked())
    await asyncio.sleep(0)
    task.cancel()
    assert await task
    assert running_task() is asyncio.current_task() is not None
    assert not is_being_cancelled()


def test_outside_of_a_task_none_runs_and_none_is_asked_to_stop() -> None:
    assert running_task() is None
    assert not is_being_cancelled()
