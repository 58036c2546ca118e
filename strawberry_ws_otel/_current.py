"""Whose code is running, and which span of ours is current for it.

OpenTelemetry's context belongs to the application and to its vendor. An application attaches a
fresh one whenever it likes, and a vendor's runtime context may keep the span and the baggage only.
So:

* which request and which operation the running code serves is kept in a ContextVar of our own;
* in OpenTelemetry's context we put the current span, and with it the baggage and values that the
  client's carrier brought. Nothing is put there for a span without an id of its own, which would
  hide the application's;
* it is taken out again by that id, never by identity: ddtrace hands the current span back as
  another object at every call. Whatever the application attached meanwhile stays.
"""

import asyncio
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from opentelemetry import baggage, trace
from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import INVALID_SPAN, INVALID_SPAN_ID, Span

from strawberry_ws_otel._fuse import Fuse
from strawberry_ws_otel._spans import SpanProxy, SpanRecorder, span_id


def joined(context: Context, carried: Context) -> Context:
    """Return `context` with what a carrier brought; its own baggage stays as it is."""
    own = baggage.get_all(context)
    joint = Context({**context, **carried})
    entries = {**baggage.get_all(carried), **own}
    if baggage.get_all(joint) == entries:
        return joint
    for name, value in entries.items():
        joint = baggage.set_baggage(name, value, joint)
    return joint


class Placement:
    """A span of ours on top of a context of the application's."""

    __slots__ = ("_carried", "_span", "below", "context", "span_id")

    def __init__(
        self, span: Span, own_id: int, below: Context, carried: Context | None = None
    ) -> None:
        """Put `span`, whose id is `own_id`, and what a carrier brought on top of `below`."""
        self._span = span
        self._carried = carried
        self.span_id = own_id
        self.below = below
        """The context of the application."""
        self.context = trace.set_span_in_context(
            span, below if carried is None else joined(below, carried)
        )
        """The context in which the host runs."""

    def moved(self, below: Context) -> "Placement":
        """Return the same on top of another context."""
        return Placement(self._span, self.span_id, below, self._carried)

    def is_on_top(self, context: Context) -> bool:
        """Whether our span is the current one of `context`."""
        return context is self.context or span_id(context) == self.span_id

    def removed_from(self, context: Context) -> Context:
        """Return `context` as it would be without us."""
        if context is self.context:
            return self.below
        if span_id(context) == self.span_id:
            context = trace.set_span_in_context(trace.get_current_span(self.below), context)
        return context if self._carried is None else self._uncarried(context, self._carried)

    def _uncarried(self, context: Context, carried: Context) -> Context:
        """Take out what the carrier brought, unless the application has it from elsewhere."""
        own = baggage.get_all(self.below)
        for name, value in baggage.get_all(carried).items():
            if name not in own and baggage.get_baggage(name, context) == value:
                context = baggage.remove_baggage(name, context)
        brought = {
            key
            for key, value in carried.items()
            if context.get(key) is value and self.below.get(key) is not value
        }
        if not brought:
            return context
        kept = {key: value for key, value in context.items() if key not in brought}
        return Context({**{key: self.below[key] for key in brought & self.below.keys()}, **kept})


def placement_of(
    span: SpanRecorder, below: Context, carried: Context | None = None
) -> Placement | None:
    """Return what puts `span` on top of `below`; None for a span that is to stay out of it."""
    if not span.has_own_id:
        return None
    return Placement(span.span, span.context.span_id, below, carried)


class Current(NamedTuple):
    """For whom a piece of code runs."""

    request: Any = None
    """The `Request` of the view that serves it."""
    operation: Any = None
    """The operation that it serves, over a WebSocket or not."""
    placement: Placement | None = None
    """The span of ours that was put into the context last."""


_CURRENT: Final[ContextVar[Current]] = ContextVar("strawberry_ws_otel", default=Current())  # noqa: B039  # it is frozen


current: Final = _CURRENT.get
"""Return for whom the running code runs."""


def application_context() -> Context:
    """Return OpenTelemetry's current context without any span of ours."""
    context, placement = get_current(), _CURRENT.get().placement
    if placement is not None:
        context = placement.removed_from(context)
    # The application may have kept a context from the inside of one of its operations.
    if type(trace.get_current_span(context)) is SpanProxy:
        return trace.set_span_in_context(INVALID_SPAN, context)
    return context


def replace_current(fuse: Fuse, **changes: Any) -> None:  # the members of `Current`
    """Let the running task go on for somebody else, for good."""
    now = _CURRENT.get()._replace(**changes)
    _CURRENT.set(now)
    if "placement" in changes and now.placement is not None:
        with fuse:
            attach(now.placement.context)


def _is_untouched(context: Context, placement: Placement, before: Context) -> bool:
    """Whether the application seems to have attached nothing, where that is not certain.

    With a vendor's runtime context a span that has ended gives way to its parent, unasked.
    """
    ours = {INVALID_SPAN_ID, placement.span_id, span_id(placement.below), span_id(before)}
    entries = baggage.get_all(placement.context)
    return span_id(context) in ours and baggage.get_all(context) == entries


class Activation:
    """The time in which code runs for somebody else than the code around it."""

    __slots__ = ("_before", "_fuse", "_inside", "_outside", "_token", "_translates")

    def __init__(self, inside: Current, fuse: Fuse) -> None:
        """Enter.

        Args:
            inside: for whom the code runs.
            fuse: what keeps a runtime context that fails from us.
        """
        self._outside = _CURRENT.get()
        self._inside = inside
        self._fuse = fuse
        self._before: Context | None = None
        """The context of OpenTelemetry around it, if ours is another."""
        self._translates = False
        """Whether the runtime context hands back another object than it was given."""
        self._token = _CURRENT.set(inside)
        if inside.placement is not None and inside.placement is not self._outside.placement:
            try:
                self._before = get_current()
                attach(inside.placement.context)
                self._translates = get_current() is not inside.placement.context
            except Exception as error:  # noqa: BLE001  # a vendor's runtime context
                fuse.blow(error)

    def end(self) -> None:
        """End it; what the application attached inside stays attached.

        An abandoned coroutine is closed in somebody else's context, which is left alone.
        """
        placement = _CURRENT.get().placement
        try:
            _CURRENT.reset(self._token)
        except ValueError:
            return
        if placement is None or placement is self._outside.placement:
            return
        try:
            _CURRENT.set(self._restored(self._before, placement))
        except Exception as error:  # noqa: BLE001  # a vendor's runtime context
            self._fuse.blow(error)

    def _restored(self, before: Context | None, placement: Placement) -> Current:
        context, outer = get_current(), self._outside.placement
        if (
            before is not None
            and placement is self._inside.placement
            and (
                context is placement.context
                or (self._translates and _is_untouched(context, placement, before))
            )
        ):
            attach(before)
            return self._outside
        context = placement.removed_from(context)
        if (
            outer is not None
            and (before is None or outer.is_on_top(before))
            and span_id(context) == span_id(outer.below)
        ):
            # Nothing but the span that was current around it is missing.
            outer = outer.moved(context)
            context = outer.context
        attach(context)
        return Current(self._outside.request, self._outside.operation, outer)


def running_task() -> asyncio.Task[Any] | None:
    """Return the running task; None outside of any, and in a thread."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def is_being_cancelled() -> bool:
    """Whether somebody has asked the running task to stop."""
    task = running_task()
    return task is not None and task.cancelling() > 0
