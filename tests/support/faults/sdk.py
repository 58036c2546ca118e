"""Faults of the SDK: each a telemetry that breaks, and what of it still holds."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult

from tests.support.broken_api import broken_propagator
from tests.support.cases import Arm, traced
from tests.support.log import RaisingHandler, handling
from tests.support.telemetry import Telemetry


class FaultError(Exception):
    """What every fault raises."""


class Raising(SpanProcessor):
    """A span processor that raises in the methods of these names."""

    def __init__(self, *methods: str) -> None:
        self._methods = methods

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self._raise("on_start")

    def on_end(self, span: ReadableSpan) -> None:
        self._raise("on_end")

    def _raise(self, method: str) -> None:
        if method in self._methods:
            raise FaultError(method)


class RaisingSampler(Sampler):
    """A sampler that decides for nothing."""

    def should_sample(self, *_arguments: Any, **_keywords: Any) -> SamplingResult:
        raise FaultError("should_sample")

    def get_description(self) -> str:
        return "RaisingSampler"


class RaisingIds(IdGenerator):
    """A generator that is out of ids."""

    def generate_span_id(self) -> NoReturn:
        raise FaultError("generate_span_id")

    def generate_trace_id(self) -> NoReturn:
        raise FaultError("generate_trace_id")


class StrangeSampler(Sampler):
    """A sampler that returns what is no result."""

    def should_sample(self, *_arguments: Any, **_keywords: Any) -> Any:
        return None

    def get_description(self) -> str:
        return "StrangeSampler"


def nothing(_telemetry: Telemetry) -> None:
    """What does not break in the middle of a conversation."""


NEVER = (0,)
ONCE = (1,)
EACH = (1, 2)
"""Once for the spans, and once for the log of an abnormal close."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A way in which telemetry breaks.

    `make` gives a telemetry that is broken from the start, `lasting` breaks what is global for as
    long as it is entered, and `strikes` breaks what was sound when the client logs in. `logged`
    is how often the library may log an internal error; `spans` how many are exported: all of
    them, some, or none.
    """

    make: Callable[[], Telemetry] = Telemetry
    lasting: Callable[[], AbstractContextManager[Any]] = nullcontext
    strikes: Callable[[Telemetry], None] = nothing
    logged: tuple[int, ...] = ONCE
    spans: Literal["all", "some", "none"] = "all"


def processed_by(*methods: str) -> Callable[[], Telemetry]:
    """Telemetry whose last span processor raises in these methods."""

    def make() -> Telemetry:
        telemetry = Telemetry()
        telemetry.tracer_provider.add_span_processor(Raising(*methods))
        return telemetry

    return make


def add_processor(*methods: str) -> Callable[[Telemetry], None]:
    return lambda telemetry: telemetry.tracer_provider.add_span_processor(Raising(*methods))


FAULTS: dict[str, Fault] = {
    "nothing breaks": Fault(logged=NEVER),
    "a span processor raises in on_start": Fault(make=processed_by("on_start"), spans="none"),
    "a span processor raises in on_end": Fault(make=processed_by("on_end")),
    "a span processor raises in both": Fault(make=processed_by("on_start", "on_end"), spans="none"),
    "a sampler raises": Fault(make=lambda: Telemetry(sampler=RaisingSampler()), spans="none"),
    "a sampler decides nothing": Fault(
        make=lambda: Telemetry(sampler=StrangeSampler()), spans="none"
    ),
    "a generator of ids raises": Fault(make=lambda: Telemetry(ids=RaisingIds()), spans="none"),
    "a propagator raises": Fault(lasting=broken_propagator),
    "a log handler raises": Fault(
        lasting=lambda: handling(RaisingHandler()), logged=(*NEVER, *ONCE)
    ),
    "a log handler raises, and a sampler too": Fault(
        make=lambda: Telemetry(sampler=RaisingSampler()),
        lasting=lambda: handling(RaisingHandler()),
        logged=EACH,
        spans="none",
    ),
    "a span processor that raises in on_start comes at the login": Fault(
        strikes=add_processor("on_start"), logged=(*NEVER, *ONCE), spans="some"
    ),
    "a span processor that raises in on_end comes at the login": Fault(
        strikes=add_processor("on_end")
    ),
    "the tracer provider is shut down at the login": Fault(
        strikes=lambda telemetry: telemetry.tracer_provider.shutdown(), logged=NEVER, spans="none"
    ),
    "the meter provider is shut down at the login": Fault(
        strikes=lambda telemetry: telemetry.meter_provider.shutdown(), logged=NEVER
    ),
}


@dataclass
class Struck:
    """Whether a fault has struck."""

    yet: bool = False


def struck(fault: Fault, telemetry: Telemetry) -> tuple[Arm, Struck]:
    """The instrumented arm, whose telemetry the fault strikes at the login."""
    arm, done = traced(telemetry.tracer_provider, telemetry.meter_provider), Struck()

    class StruckView(arm.view_class):  # type: ignore[name-defined,misc]  # whichever it is
        async def on_ws_connect(self, context: Any) -> Any:
            fault.strikes(telemetry)
            done.yet = True
            return await super().on_ws_connect(context)

    return Arm(StruckView, arm.extensions), done
