"""A telemetry pipe that works and counts: every call of the OpenTelemetry API, by its name.

Each double is a real subclass of the API's class, so that it passes for one.
"""

import asyncio
import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Token
from functools import partial
from itertools import count
from typing import Any

import opentelemetry.context
import pytest
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.trace import SpanContext, TraceFlags

from tests.support.broken_api import provider_of_instruments

Calls = Counter[str]
"""How often each method was called, such as `Span.add_event`."""


def counting(api: type[Any], calls: Calls, **returns: object) -> Any:
    """An instance of such a class."""
    return counting_class(api, calls, **returns)()


def counting_class(api: type[Any], calls: Calls, **returns: object) -> type[Any]:
    """A class of the API whose methods do nothing but count, and return what is given."""
    members: dict[str, Any] = {"__init__": lambda *_: None}
    for name in (name for name in dir(api) if not name.startswith("_")):
        if not isinstance(getattr(api, name), property):
            members[name] = _method(f"{api.__name__}.{name}", calls, returns.get(name))
    return type(f"Counting{api.__name__}", (api,), members)


def _method(call: str, calls: Calls, value: object) -> Callable[..., object]:
    def method(*_arguments: object, **_keywords: object) -> object:
        calls[call] += 1
        return value

    return method


def counting_tracers(calls: Calls, *, sampled: bool) -> trace.TracerProvider:
    """A provider whose spans are recording, or not, and have an id each."""
    ids = count(1)

    class Tracer(counting_class(trace.Tracer, calls)):  # type: ignore[misc]  # made by us
        def start_span(self, *arguments: Any, **keywords: Any) -> trace.Span:
            super().start_span(*arguments, **keywords)
            context = SpanContext(0xABC, next(ids), False, TraceFlags(sampled))  # noqa: FBT003
            span: trace.Span = counting(
                trace.Span, calls, is_recording=sampled, get_span_context=context
            )
            return span

    tracer = Tracer()
    provider: trace.TracerProvider = counting(trace.TracerProvider, calls, get_tracer=tracer)
    return provider


def counting_meters(calls: Calls) -> metrics.MeterProvider:
    """A provider of instruments."""
    return provider_of_instruments(partial(counting, calls=calls))


class CountingContext(ContextVarsRuntimeContext):
    """The context of the API, whose changes are counted."""

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self._calls = calls

    def attach(self, context: Context) -> Token[Context]:
        self._calls["context.attach"] += 1
        return super().attach(context)

    def detach(self, token: Token[Context]) -> None:
        self._calls["context.detach"] += 1
        super().detach(token)

    def get_current(self) -> Context:
        self._calls["context.get_current"] += 1
        return super().get_current()


@contextmanager
def counting_tasks(calls: Calls) -> Iterator[None]:
    """Every question of ours for the current task, a system call, is counted as long as this lasts.

    The host asks as well, in some versions.
    """
    current_task = asyncio.current_task

    def counted(loop: asyncio.AbstractEventLoop | None = None) -> asyncio.Task[Any] | None:
        [_, asking, *_] = inspect.stack(context=0)
        if asking.frame.f_globals["__name__"].startswith("strawberry_ws_otel"):
            calls["asyncio.current_task"] += 1
        return current_task(loop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "current_task", counted)
        yield


@contextmanager
def counting_contexts(calls: Calls) -> Iterator[None]:
    """Every change of the context is counted as long as this lasts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opentelemetry.context, "_RUNTIME_CONTEXT", CountingContext(calls))
        yield
