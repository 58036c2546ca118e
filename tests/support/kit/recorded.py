"""Conversations as the library records them, but of any time, in any number and of any service."""

import asyncio
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode, Tracer, set_span_in_context

from examples.operations.jaeger import Jaeger
from examples.operations.shared import ask
from strawberry_ws_otel import _semconv
from tests.support.kit.exporting import until

SECOND = 1_000_000_000
AGO = 600 * SECOND
"""When the conversations began."""

BROWSERS = tuple(f"Mozilla/5.0 (X11; Linux) Firefox/{version}" for version in range(120, 127))

ENDED = re.compile(r", ended \d{4}-\d\d-\d\d \d\d:\d\d:\d\d( to ([\d-]+ )?[\d:]+)? UTC")

Value = str | int | float | bool
Attributes = Mapping[str, Value]


@dataclass(frozen=True)
class Conversation:
    """One connection with its operations; one without an outcome is open.

    `attributes` are added to what an ordinary client has; an empty text removes one. One that is
    not recorded has no span of its connection, as in its first minutes.
    """

    outcome: str | None = "normal"
    attributes: Attributes = field(default_factory=dict)
    operations: Mapping[str, Attributes] = field(default_factory=lambda: {"Prices": {}})
    instance: str | None = None
    seconds: float = 2.0
    segments: int = 1
    is_recorded: bool = True


def timeless(lines: Iterable[str]) -> list[str]:
    """Return an answer without the times in it."""
    return [ENDED.sub("", line) for line in lines]


def known(attributes: Attributes) -> Attributes:
    return {name: value for name, value in attributes.items() if value != ""}


@dataclass
class Service:
    """Records conversations of one service, and asks who is behind a search."""

    name: str
    jaeger: Jaeger
    otlp: str
    began: int = field(default_factory=lambda: time.time_ns() - AGO)
    _tracers: dict[str, Tracer] = field(default_factory=dict)
    _providers: list[TracerProvider] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)

    def record(self, one: Conversation) -> str:
        """Record a conversation; return the id of its connection."""
        number = next(self._numbers)
        instance = one.instance or f"pod-{number % 3}"
        identity: dict[str, Value] = {
            _semconv.CONNECTION_ID: f"{number:016x}",
            "tenant.id": one.attributes.get("tenant.id", f"tenant-{number % 19}"),
        }
        shared: dict[str, Value] = {
            **identity,
            _semconv.USER_AGENT: BROWSERS[number % len(BROWSERS)],
            _semconv.CLIENT_ADDRESS: f"10.{number % 5}.{number % 9}.{number % 199}",
            _semconv.HTTP_ROUTE: "/graphql",
            _semconv.SUBPROTOCOL: "graphql-transport-ws",
            _semconv.RECEIVE_IDLE_TIME: 0.1 * number,
            **one.attributes,
        }
        error = shared.pop(_semconv.ERROR_TYPE, one.outcome or "")
        verdict: dict[str, Value] = {}
        if one.outcome:
            verdict = {
                _semconv.CLOSE_OUTCOME: one.outcome,
                _semconv.DURATION: one.segments * one.seconds,
            }
            if one.outcome != "normal":
                verdict[_semconv.ERROR_TYPE] = error
        for segment in range(one.segments if one.is_recorded else 0):
            is_last = segment == one.segments - 1 and bool(one.outcome)
            end = verdict if is_last else {_semconv.SEGMENT_CONTINUED: True}
            self.span(
                _semconv.SPAN_CONNECTION,
                {**known(shared), _semconv.SEGMENT_NUMBER: segment, **end},
                instance,
                (segment * one.seconds, one.seconds),
            )
        for name, more in one.operations.items():
            attributes = {**identity, _semconv.OPERATION_NAME: name, **more}
            self.span("subscription", attributes, instance, (0.1, 1.0))
        return str(identity[_semconv.CONNECTION_ID])

    def span(
        self,
        name: str,
        attributes: Attributes,
        instance: str = "pod-0",
        time_: tuple[float, float] = (0, 1),
    ) -> None:
        """Record a span; its time is after how many seconds it began, and how many it lasted."""
        after, seconds = time_
        start = self.began + int(after * SECOND)
        span = self._tracer(instance).start_span(
            name, kind=SpanKind.SERVER, attributes=attributes, start_time=start
        )
        if _semconv.ERROR_TYPE in attributes:
            span.set_status(StatusCode.ERROR)
        span.end(start + int(seconds * SECOND))

    def trace(self, name: str, spans: Iterable[Attributes]) -> None:
        """Record spans of one trace, as those of a client that sends its trace context."""
        tracer = self._tracer("pod-0")
        parent = tracer.start_span("client", start_time=self.began)
        context = set_span_in_context(parent)
        for attributes in spans:
            one = tracer.start_span(
                name, context, SpanKind.SERVER, attributes, start_time=self.began
            )
            one.end(self.began + SECOND)
        parent.end(self.began + SECOND)

    def _tracer(self, instance: str) -> Tracer:
        if instance not in self._tracers:
            resource = Resource(
                {
                    "service.name": self.name,
                    "service.instance.id": instance,
                    "host.name": f"host-of-{instance}",
                    "service.version": "1",
                }
            )
            provider = TracerProvider(resource=resource)
            exporter = OTLPSpanExporter(f"{self.otlp}/v1/traces")
            provider.add_span_processor(BatchSpanProcessor(exporter))
            self._providers.append(provider)
            self._tracers[instance] = provider.get_tracer(_semconv.SCOPE)
        return self._tracers[instance]

    async def shut_down(self) -> None:
        for provider in self._providers:
            await asyncio.to_thread(provider.shutdown)

    def url(self, search: str) -> str:
        return f"{self.jaeger.url}/search?service={self.name}&{search}&lookback=1h"

    async def stored(self) -> None:
        """Wait until Jaeger has all that was recorded: it gets the marker last."""
        for provider in self._providers:
            await asyncio.to_thread(provider.force_flush)
        self.span("marker", {})
        await asyncio.to_thread(self._providers[0].force_flush)
        await until(lambda: self.jaeger.search(self.url("operation=marker")), bool)

    async def answer(self, search: str) -> tuple[int, list[str]]:
        """Return the exit status and the answer, without the times in it."""
        await self.stored()
        status, lines = await ask(self.url(search))
        return status, timeless(lines)
