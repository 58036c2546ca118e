"""The arms of the comparison: who serves the schema, and what becomes of the spans."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import strawberry
from aiohttp import web
from strawberry.aiohttp.views import GraphQLView
from strawberry.extensions import SchemaExtension
from strawberry.extensions.tracing import OpenTelemetryExtension

from strawberry_ws_otel import OTelConfig, OTelExtension, OTelViewMixin
from tests.benchmarks.pipes import PIPES, Pipe, Tracing
from tests.benchmarks.schema import Feed, Query, Stopwatch, Subscription

View = GraphQLView[Any, Any]
Extension = Callable[[], SchemaExtension]


class EmptyExtension(SchemaExtension):
    """Does nothing: what any extension costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Who serves the schema.

    Attributes:
        name: how tables call it.
        baseline: the subject that it is compared with, without its own telemetry.
        mixin: whether the view has our mixin.
        extensions: those of the schema.
        options: further ones of `OTelConfig`.
        server: whether aiohttp-server's instrumentation is around the view.
        tracings: the ways of tracing that it is measured with.
    """

    name: str
    baseline: str
    mixin: bool = False
    extensions: Callable[[Pipe], list[Extension]] = lambda _pipe: []
    options: Mapping[str, Any] = field(default_factory=dict)
    server: bool = False
    tracings: tuple[Tracing | None, ...] = tuple(Tracing)


@dataclass(frozen=True, slots=True)
class Arm:
    """A subject under one way of tracing; without one it has no telemetry at all."""

    subject: Subject
    tracing: Tracing | None

    @property
    def name(self) -> str:
        """How tables call it."""
        if self.tracing is None:
            return self.subject.name
        return f"{self.subject.name}, {self.tracing}"


BARE: Final = "bare"
EMPTY: Final = "empty extension"
MIXIN: Final = "mixin"
BOTH: Final = "mixin + extension"
BOTH_WITHOUT_PHASES: Final = "mixin + extension, no phases"
STRAWBERRYS: Final = "Strawberry's OTel extension"
SERVER: Final = "aiohttp-server"
SERVER_AND_BOTH: Final = "aiohttp-server + both"

WITH_SDK: Final = (Tracing.SAMPLED, Tracing.UNSAMPLED)


def _strawberrys(pipe: Pipe) -> list[Extension]:
    return [partial(OpenTelemetryExtension, tracer_provider=pipe.tracer_provider)]


SUBJECTS: Final = (
    Subject(name=BARE, baseline=BARE, tracings=(None,)),
    Subject(
        name=EMPTY,
        baseline=BARE,
        extensions=lambda _pipe: [EmptyExtension],
        tracings=(None,),
    ),
    Subject(name=MIXIN, baseline=BARE, mixin=True),
    Subject(name=BOTH, baseline=EMPTY, mixin=True, extensions=lambda _pipe: [OTelExtension]),
    Subject(
        name=BOTH_WITHOUT_PHASES,
        baseline=EMPTY,
        mixin=True,
        extensions=lambda _pipe: [OTelExtension],
        options={"phase_spans": False},
    ),
    Subject(name=STRAWBERRYS, baseline=BARE, extensions=_strawberrys),
    Subject(name=SERVER, baseline=BARE, server=True, tracings=WITH_SDK),
    Subject(
        name=SERVER_AND_BOTH,
        baseline=EMPTY,
        mixin=True,
        extensions=lambda _pipe: [OTelExtension],
        server=True,
        tracings=WITH_SDK,
    ),
)

ARMS: Final = tuple(Arm(subject, tracing) for subject in SUBJECTS for tracing in subject.tracings)


def arms_of_process(*, sdk: bool) -> list[Arm]:
    """The arms that are measured side by side in a process, with the SDK or without."""
    return [arm for arm in ARMS if arm.tracing is None or (arm.tracing is Tracing.NO_SDK) != sdk]


def baseline(arm: Arm) -> Arm | None:
    """The arm that another one is compared with; None for the first of all."""
    if arm.subject.name == arm.subject.baseline:
        return None
    return find(arm.subject.baseline)


def find(subject: str, tracing: Tracing | None = None) -> Arm:
    """The arm of that subject under that way of tracing."""
    [arm] = [arm for arm in ARMS if (arm.subject.name, arm.tracing) == (subject, tracing)]
    return arm


def application(arm: Arm, stopwatch: Stopwatch, feed: Feed) -> tuple[web.Application, View, Pipe]:
    """The application, the view and the providers of an arm; the view has yet to be routed."""
    subject, pipe = arm.subject, PIPES[arm.tracing]()

    class BenchmarkedView(View):
        async def get_context(
            self, request: web.Request, response: web.Response | web.WebSocketResponse
        ) -> Any:
            return {"stopwatch": stopwatch, "feed": feed}

    class RecordedView(OTelViewMixin, BenchmarkedView):
        # Some arms measure the mixin alone, on purpose.
        otel_config = OTelConfig(**pipe.options, **subject.options, setup_warnings=False)

    view_class = RecordedView if subject.mixin else BenchmarkedView
    schema = strawberry.Schema(
        query=Query, subscription=Subscription, extensions=subject.extensions(pipe)
    )
    make = _instrumented(pipe) if subject.server else web.Application
    return make(), view_class(schema=schema), pipe


def _instrumented(pipe: Pipe) -> Callable[[], web.Application]:
    """The class of application that aiohttp-server's instrumentation puts in place of aiohttp's.

    Its instruments are the global meter provider's, which is none here: it costs more in reality.
    """
    # Older versions warn of their own way as they are imported.
    from opentelemetry.instrumentation.aiohttp_server import (  # noqa: PLC0415
        AioHttpServerInstrumentor,
    )

    instrumentor = AioHttpServerInstrumentor()
    instrumentor.instrument(**pipe.options)
    try:
        return web.Application
    finally:
        instrumentor.uninstrument()
