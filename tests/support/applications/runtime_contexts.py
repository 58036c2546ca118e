"""Runtime contexts that others bring, by `OTEL_PYTHON_CONTEXT` or with a vendor's bridge.

They implement the interface of OpenTelemetry's own and keep what they know: the current span and
the baggage. Values under other keys are gone.
"""

from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.context.context import _RuntimeContext
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.sdk.trace import Span, SpanProcessor

from tests.support.telemetry import Telemetry


class Forgetful(ContextVarsRuntimeContext):
    """Keeps the span as it is, and the baggage."""

    def __init__(self, _telemetry: Telemetry) -> None:
        super().__init__()

    def attach(self, context: Context) -> Token[Context]:
        kept = trace.set_span_in_context(trace.get_current_span(context), Context())
        return super().attach(with_baggage(kept, dict(baggage.get_all(context))))


def with_baggage(context: Context, entries: dict[str, Any]) -> Context:
    for name, value in entries.items():
        context = baggage.set_baggage(name, value, context)
    return context


def _method(name: str) -> Any:
    def method(self: Any, *arguments: Any, **keywords: Any) -> Any:
        return getattr(self.real, name)(*arguments, **keywords)

    return method


METHODS: Final = [name for name in vars(trace.Span) if not name.startswith("_")]
Reborn: Any = type(
    "Reborn",
    (trace.Span,),
    {
        "__init__": lambda self, real: setattr(self, "real", real),
        "__getattr__": lambda self, name: getattr(self.real, name),
        **{name: _method(name) for name in METHODS},
    },
)
"""What a runtime context makes anew of a span each time it is asked for it."""


@dataclass(frozen=True)
class Kept:
    """What is current, in the form of a vendor."""

    span: Any = None
    remote: trace.SpanContext | None = None
    baggage: dict[str, Any] = field(default_factory=dict)


class Registry(SpanProcessor):
    """The spans of a provider by their id, as a vendor's own tracer knows them."""

    def __init__(self) -> None:
        self.spans: dict[int, Span] = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.spans[span.context.span_id] = span


class Translating(_RuntimeContext):
    """Keeps spans in a form of its own: one that ends gives way to its parent, unasked."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._current: ContextVar[Kept] = ContextVar("current", default=Kept())  # noqa: B039  # frozen
        self._registry = Registry()
        telemetry.tracer_provider.add_span_processor(self._registry)

    def attach(self, context: Context) -> Any:
        identity = trace.get_current_span(context).get_span_context()
        known = self._registry.spans.get(identity.span_id)
        remote = identity if known is None and identity.is_valid else None
        self._current.set(Kept(known, remote, dict(baggage.get_all(context))))
        return object()

    def get_current(self) -> Context:
        kept = self._current.get()
        context = with_baggage(Context(), kept.baggage)
        if kept.remote is not None:
            return trace.set_span_in_context(trace.NonRecordingSpan(kept.remote), context)
        span = kept.span
        while span is not None and span.end_time is not None:
            span = self._registry.spans.get(span.parent.span_id) if span.parent else None
        return context if span is None else trace.set_span_in_context(Reborn(span), context)

    def detach(self, token: Any) -> None:
        """Nothing: whatever ended is not current any more."""


class Clinging(Translating):
    """The same, which attaching a context without a span leaves as it is, baggage and all."""

    def attach(self, context: Context) -> Any:
        if trace.get_current_span(context) is trace.INVALID_SPAN:
            return object()
        return super().attach(context)


class TakesNothingError(Exception):
    pass


class Failing(ContextVarsRuntimeContext):
    """Can be asked for what is current, and takes nothing else."""

    def __init__(self, _telemetry: Telemetry) -> None:
        super().__init__()

    def attach(self, context: Context) -> NoReturn:
        raise TakesNothingError


RUNTIMES: Final[dict[str, Any]] = {"forgetful": Forgetful, "translating": Translating}
"""Those under which the application is served as under OpenTelemetry's own."""
ALL_RUNTIMES: Final = {**RUNTIMES, "clinging": Clinging}
