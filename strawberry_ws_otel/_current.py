"""Whose code is running, and which of the library's spans is current for it.

OpenTelemetry's context belongs to the application and its vendor. An application attaches a fresh
one whenever it likes, and a vendor's runtime context may keep only the span and the baggage. So:

* A ContextVar of the library says which request and operation the running code serves: `Current`.
* Only a `Placement` goes into OpenTelemetry's context: the current span, with the baggage and the
  values that the client's carrier brought. A span without an id of its own stays out of it, since
  it would hide the application's.
* An `Activation` attaches a placement for some time and takes it out again. What the application
  has attached meanwhile stays. The library finds its span by the id, never by identity: ddtrace
  hands the current span back as another object at every call.
"""

import asyncio
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from opentelemetry import baggage, trace
from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import INVALID_SPAN, INVALID_SPAN_ID

from strawberry_ws_otel._fuse import Fuse
from strawberry_ws_otel._spans import SpanProxy, SpanRecorder, span_id


def joined(context: Context, carried: Context) -> Context:
    """Return `context` with what a carrier brought, except for baggage that it has itself."""
    joint = Context({**context, **carried})
    for name, value in baggage.get_all(context).items():
        if baggage.get_baggage(name, joint) != value:
            joint = baggage.set_baggage(name, value, joint)
    return joint


class Placement:
    """A span of the library on top of a context of the application.

    `below` is the application's context. `context`, in which the host runs, is `below` with the
    span and with what a carrier brought. The application may attach a context that it derives from
    `context`, or one of its own. So `removed_from` does not go back to `below`: it takes what the
    placement put there, piece by piece, out of the context that it is given.
    """

    __slots__ = ("_carried", "below", "context", "is_translated", "span")

    def __init__(self, span: SpanRecorder, below: Context, carried: Context | None = None) -> None:
        """Put `span` and what a carrier brought on top of `below`."""
        self.span = span
        self._carried = carried
        self.below = below
        self.context = trace.set_span_in_context(
            span.span, below if carried is None else joined(below, carried)
        )
        self.is_translated = False
        """Whether the runtime context hands back another object than it was given."""

    def moved(self, below: Context) -> "Placement":
        """Return a placement of the same span on top of another context."""
        return Placement(self.span, below, self._carried)

    def over(self, span: SpanRecorder) -> "Placement | None":
        """Return a placement of another span in the same place; None if that has no own id."""
        return placement_of(span, self.below, self._carried)

    def is_on_top(self, context: Context) -> bool:
        """Whether the span is the current one of `context`."""
        return context is self.context or self.span.has_id(span_id(context))

    def removed_from(self, context: Context) -> Context:
        """Return `context` without the span, and without what the carrier brought."""
        if context is self.context:
            return self.below
        if self.span.has_id(span_id(context)):
            context = trace.set_span_in_context(trace.get_current_span(self.below), context)
        return context if self._carried is None else self._uncarried(context, self._carried)

    def _uncarried(self, context: Context, carried: Context) -> Context:
        """Take out what the carrier brought, unless the application has changed it."""
        below = self.below
        own = baggage.get_all(below)
        for name, value in baggage.get_all(carried).items():
            if name not in own and baggage.get_baggage(name, context) == value:
                context = baggage.remove_baggage(name, context)
        brought = {k for k, v in carried.items() if context.get(k) is v and below.get(k) is not v}
        if not brought:
            return context
        kept = {key: value for key, value in context.items() if key not in brought}
        return Context({**{key: below[key] for key in brought & below.keys()}, **kept})


def placement_of(
    span: SpanRecorder, below: Context, carried: Context | None = None
) -> Placement | None:
    """Put `span` on top of `below`; None for a span without an id of its own."""
    return Placement(span, below, carried) if span.has_own_id else None


class Current(NamedTuple):
    """What the running code serves, and the placement that was attached last."""

    request: Any = None  # a `Request` of `_connection`
    operation: Any = None  # an `Operation`, over a WebSocket or not
    placement: Placement | None = None


_CURRENT: Final[ContextVar[Current]] = ContextVar("strawberry_ws_otel", default=Current())  # noqa: B039  # it is frozen

current: Final = _CURRENT.get
"""Return what the running code serves."""


def application_context() -> Context:
    """Return OpenTelemetry's current context without any span of the library."""
    context, placement = get_current(), _CURRENT.get().placement
    if placement is not None:
        context = placement.removed_from(context)
    # The application may have kept a context of an operation, and attached it elsewhere.
    if type(trace.get_current_span(context)) is SpanProxy:
        return trace.set_span_in_context(INVALID_SPAN, context)
    return context


def replace_current(fuse: Fuse, **changes: Any) -> None:  # the members of `Current`
    """Change what the running task serves, for good."""
    now = _CURRENT.get()._replace(**changes)
    _CURRENT.set(now)
    if "placement" in changes and now.placement is not None:
        with fuse:
            attach(now.placement.context)


def put_back(span: SpanRecorder, outer: SpanRecorder) -> bool:
    """Make `span` the current one again where the running task has lost it with a segment.

    ddtrace keeps the real span instead of the context. As that ends, its parent becomes the current
    one, which `outer`, the connection's, may be. What the application has made current stays.

    Returns:
        Whether `span` is the current one.
    """
    placement = _CURRENT.get().placement
    if placement is None or placement.span is not span or not placement.is_translated:
        return True
    current_id = span_id(get_current())
    parents = {INVALID_SPAN_ID, span_id(placement.below)}
    if current_id in parents or outer.has_id(current_id):
        attach(placement.context)
        return True
    return span.context.span_id == current_id


def _is_untouched(context: Context, placement: Placement, before: Context) -> bool:
    """Whether the application seems to have attached nothing on top of `placement`.

    For runtime contexts that hand back another object than they were given, so that identity says
    nothing. The baggage has to be the same. The span may also be that of `before` or below: when a
    span has ended, ddtrace makes its parent the current one.
    """
    current_id, entries = span_id(context), baggage.get_all(placement.context)
    is_expected = placement.span.has_id(current_id) or current_id in {
        INVALID_SPAN_ID,
        span_id(placement.below),
        span_id(before),
    }
    return is_expected and baggage.get_all(context) == entries


class Activation:
    """The time for which code serves `inside`, with its placement attached.

    No token of OpenTelemetry is kept: to detach it would also drop what the application attached
    inside. `end` attaches the context that is current then, without the placement.
    """

    __slots__ = ("_before", "_fuse", "_inside", "_outside", "_token")

    def __init__(self, inside: Current, fuse: Fuse) -> None:
        """Begin to serve `inside`; `fuse` stops what a vendor's runtime context raises."""
        self._outside = _CURRENT.get()
        self._inside = inside
        self._fuse = fuse
        self._before: Context | None = None
        """OpenTelemetry's context around the activation, if it attaches another one."""
        self._token = _CURRENT.set(inside)
        if inside.placement is not None and inside.placement is not self._outside.placement:
            try:
                self._before = get_current()
                attach(inside.placement.context)
                inside.placement.is_translated = get_current() is not inside.placement.context
            except Exception as error:  # noqa: BLE001  # a vendor's runtime context
                fuse.blow(error)

    def end(self) -> None:
        """Take the placement out of the context; what the application attached stays attached.

        An abandoned coroutine is closed in the context of other code, which is left alone.
        """
        placement = _CURRENT.get().placement
        try:
            _CURRENT.reset(self._token)
        except ValueError:
            return
        if placement is None or placement is self._outside.placement:
            return
        try:
            _CURRENT.set(self._restored(placement, self._before))
        except Exception as error:  # noqa: BLE001  # a vendor's runtime context
            self._fuse.blow(error)

    def _restored(self, placement: Placement, before: Context | None) -> Current:
        """Attach the context without `placement`, and return what the code outside serves in it."""
        context, outer = get_current(), self._outside.placement
        if (
            before is not None
            and placement is self._inside.placement
            and (
                context is placement.context
                or (placement.is_translated and _is_untouched(context, placement, before))
            )
        ):
            # The application has attached nothing: the very context of before comes back.
            attach(before)
            return self._outside
        context = placement.removed_from(context)
        if (
            outer is not None
            and (before is None or outer.is_on_top(before))
            and span_id(context) == span_id(outer.below)
        ):
            # The outer span was current before, and no span of the application hides it now.
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
    """Whether the cancellation of the running task was requested."""
    task = running_task()
    return task is not None and task.cancelling() > 0
